import type { GitHub } from "../../platform/github.ts";

/**
 * Puts a report on a pull request: over the one that was there before, which is told by its mark and by its author, since anybody
 * can write a mark.
 */
export async function comment(github: GitHub, pullRequest: number, fleet: string, report: string): Promise<void> {
  const mark = `<!-- bento ${encodeURIComponent(fleet)} -->`;
  const body = `${mark}\n${report}`;
  const authors = await github.logins();
  const find = async () => {
    for await (const found of github.comments(pullRequest)) {
      if (authors.includes(found.author) && found.body.startsWith(mark)) return found;
    }
    return undefined;
  };
  const found = await find();
  if (found === undefined) await github.createComment(pullRequest, body, async () => (await find()) !== undefined);
  else if (found.body !== body) await github.updateComment(found.id, body);
}
