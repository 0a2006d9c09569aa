/** A command of a script: its words as the shell would split them, and what it is given on standard input as a here-document. */
export interface Simple {
  words: string[];
  input: string | null;
}

/** What stands for words that only a run would know. */
export const SUBSTITUTED = "SUBSTITUTED";

const KEYWORDS = new Set(["if", "then", "else", "elif", "fi", "for", "do", "done", "while", "until", "!", "{", "}"]);
const ASSIGNMENT = /^[A-Za-z_]\w*=/;

/**
 * The simple commands of a script, also those within `$(…)` and `<(…)`, without variables that are set for one and without `sudo`.
 * Enough of the shell's grammar for what people are told to type: no `case`, no functions.
 *
 * @throws for an end within quotes or parentheses.
 */
export function simpleCommands(script: string): Simple[] {
  const found: Simple[] = [];
  let at = 0;
  let current: Simple = { words: [], input: null };
  /** Here-documents that begin at the end of this line. */
  let pending: { end: string; of: Simple }[] = [];

  const end = () => {
    while (current.words[0] !== undefined && (KEYWORDS.has(current.words[0]) || ASSIGNMENT.test(current.words[0]))) {
      current.words.shift();
    }
    if (current.words[0] === "sudo") current.words.shift();
    if (current.words.length > 0) found.push(current);
    current = { words: [], input: null };
  };
  const nested = () => {
    const inner = parenthesis();
    found.push(...simpleCommands(inner));
    return SUBSTITUTED;
  };
  /** From after an opening parenthesis to the closing one. */
  const parenthesis = (): string => {
    const start = at;
    for (let depth = 1; at < script.length; at++) {
      if (script[at] === "(") depth++;
      if (script[at] === ")" && --depth === 0) return script.slice(start, at++);
    }
    throw new Error(`no ')' after ${script.slice(start)}`);
  };
  const quoted = (): string => {
    const start = at;
    let text = "";
    for (; at < script.length; at++) {
      if (script[at] === '"') {
        at++;
        return text;
      }
      if (script.startsWith("$(", at)) {
        at += 2;
        text += nested();
        at--;
      } else if (script[at] === "\\") text += script[++at] ?? "";
      else text += script[at];
    }
    throw new Error(`no end of quotes after ${script.slice(start)}`);
  };
  const word = (): string => {
    let text = "";
    for (; at < script.length && !/[\s;&|<>()]/.test(script[at] ?? ""); at++) {
      const letter = script[at];
      if (letter === "'") {
        const close = script.indexOf("'", at + 1);
        if (close < 0) throw new Error(`no end of quotes after ${script.slice(at)}`);
        text += script.slice(at + 1, close);
        at = close;
      } else if (letter === '"') {
        at++;
        text += quoted();
        at--;
      } else if (script.startsWith("$(", at)) {
        at += 2;
        text += nested();
        at--;
      } else if (letter === "\\") {
        at++;
        if (script[at] !== "\n") text += script[at] ?? "";
      } else text += letter;
    }
    return text;
  };
  const blanks = () => {
    while (script[at] === " " || script[at] === "\t" || script.startsWith("\\\n", at))
      at += script[at] === "\\" ? 2 : 1;
  };

  while (at < script.length) {
    blanks();
    const letter = script[at];
    if (letter === undefined) break;
    if (letter === "#") at = script.indexOf("\n", at) < 0 ? script.length : script.indexOf("\n", at);
    else if (letter === "\n") {
      end();
      at++;
      for (const { end: last, of } of pending) {
        const stop = script.slice(at).search(new RegExp(`^${last}$`, "m"));
        if (stop < 0) throw new Error(`no ${last} after ${script.slice(at)}`);
        of.input = script.slice(at, at + stop);
        at += stop + last.length;
      }
      pending = [];
    } else if (script.startsWith("<<", at)) {
      at += 2;
      blanks();
      pending.push({ end: word(), of: current });
    } else if (script.startsWith("<(", at)) {
      at += 2;
      current.words.push(nested());
    } else if (letter === "<" || letter === ">") {
      at += script[at + 1] === ">" ? 2 : 1;
      blanks();
      word();
    } else if (/[;&|()]/.test(letter)) {
      end();
      at++;
    } else {
      current.words.push(word());
    }
  }
  end();
  return found;
}
