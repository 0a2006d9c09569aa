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
