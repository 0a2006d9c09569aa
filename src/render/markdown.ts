import { clip, inertLine } from "../inert.ts";

/**
 * Text as it is, on one line of GitHub's markdown: nothing in it is markup, a link, a mention or a reference. Each character that
 * markdown or HTML gives a meaning becomes an HTML entity. Mentions and references are looked for in what was rendered, where
 * an entity is the character again: a space without width keeps `@` and `#` apart from what they would refer to.
 */
export function plain(text: string, limit = 500): string {
  return inertLine(text, limit)
    .replace(/@(?=\w)|#(?=\d)/g, "$&\u200b")
    .replace(/[^\p{L}\p{N} .,;()/+=%-]|(?<=[wW]{3})\./gu, (letter) => `&#${letter.codePointAt(0)};`);
}

/** The same in the look of code. */
export function code(text: string, limit = 500): string {
  return `<code>${plain(text, limit)}</code>`;
}

/** A table; cells are markdown already. */
export function markdownTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(heading), line(heading.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Something long behind a line to click on; `text` is foreign. */
export function folded(title: string, text: string, limit: number): string {
  const escaped = clip(text, limit)
    .replace(/(?![\t\n])[\p{Cc}\p{Bidi_Control}]/gu, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
  // An empty line would end the HTML block, and with it the escape from markdown.
  return `<details><summary>${title}</summary><pre>${escaped.replace(/\n(?=\n)/g, "\n&#8203;")}</pre></details>`;
}
