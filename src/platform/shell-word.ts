/** A word as a POSIX shell takes it, whatever is in it: in quotes, unless it needs none. */
export function shellWord(word: string): string {
  return /^[\w.,/:@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
