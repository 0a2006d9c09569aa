/** Text from elsewhere (Nix logs, host reports, commit subjects) with control and bidirectional characters made visible. */
export function inert(text: string): string {
  return text.replace(/(?![\t\n])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, "\ufffd");
}

/** The same on one line, at most `limit` characters of it. */
export function inertLine(text: string, limit = 500): string {
  const line = inert(text)
    .replace(/[\t\n ]+/g, " ")
    .trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}

/** At most about `limit` characters of a long text: its beginning and its end, by whole lines, and what was left out between. */
export function clip(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const head = text.slice(0, Math.floor(limit / 2));
  const tail = text.slice(text.length - Math.ceil(limit / 2));
  // Of a line without an end there is no more to tell than a part.
  const begin = head.slice(0, head.lastIndexOf("\n") + 1) || `${head}\n`;
  const end = tail.slice(tail.indexOf("\n") + 1) || tail;
  return `${begin}…\n${end}`;
}
