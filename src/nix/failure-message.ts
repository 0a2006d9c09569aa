/**
 * What Nix printed of an error, taken apart as text: the innermost error's message, and the frames around it. Nothing here
 * knows of the fleet.
 */

/** Where something is, as a line of its own below what is said of it. */
export const AT = /^\s*(?:at|… .* located at|whose name attribute is located at) (\/.+?):(\d+):(\d+):?$/;

export function withoutColours(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape character is what colours begin with.
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}

/** What one of Nix's programs said last, in one line, but for the hint that old versions put below an error. */
export function lastSaid(text: string): string {
  const lines = withoutColours(text).split("\n");
  const said = lines
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("(use '--show-trace' "));
  return (said.at(-1) ?? "").replace(/^error: */, "");
}

/** The text without the frames of what Bento itself gave to Nix to evaluate: an expression, which Nix calls «string». */
export function withoutOurs(text: string): string {
  const kept: string[] = [];
  let ours = false;
  for (const line of text.split("\n")) {
    if (/^\s*at «string»:\d+:\d+:?$/.test(line)) {
      ours = true;
      // What the frame is, stands above its place.
      while (kept.at(-1)?.trim() === "") kept.pop();
      if (/^\s*…/.test(kept.at(-1) ?? "")) kept.pop();
    } else if (!ours || !/^\s*(?:$|\||\d+\|)/.test(line)) {
      ours = false;
      kept.push(line);
    }
  }
  return kept.join("\n");
}

/** The line with the innermost error's message. */
export function causeLine(lines: readonly string[]): number | undefined {
  let found: number | undefined;
  lines.forEach((line, index) => {
    // A message that begins with a line end, as NixOS's failed assertions do, stands below its heading.
    const below = lines[index + 1] ?? "";
    if (/^\s*error: *\S/.test(line) || (/^\s*error: *$/.test(line) && /^\s*[^\s…]/.test(below))) found = index;
  });
  return found;
}

export function messageAt(lines: readonly string[], at: number): string {
  const block = messageBlock(lines, at);
  // NixOS's failed assertions are a list below a heading that says nothing.
  const assertions = assertionsIn(block);
  if (assertions.length > 0) return assertions.join("; ");
  const first = (block.replace(/^\s*error:\s*/, "").split("\n")[0] ?? "")
    .replace(/ Definition values:$/, "")
    // The package's own file says nothing to who uses it.
    .replace(/^(Package ‘[^’]+’|Refusing to evaluate package '[^']+') in \S+/, "$1")
    .replace(/\.drv\^\w+'/, ".drv'");
  // What had to be built for the evaluation, and didn't: 2.34 says below it why.
  const [, reason] = /^Cannot build '.*'\.\n\s*Reason: (.*?)\.?$/m.exec(block.replace(/^\s*error:\s*/, "")) ?? [];
  if (reason !== undefined) return `${first.replace(/\.$/, "")}: ${reason}`;
  // Only 2.8 says in the message that it was an assertion.
  const asserted = /^\s*… while evaluating the condition of the (assertion '.*')$/.exec(frameAbove(lines, at)[0] ?? "");
  if (asserted) return `${asserted[1]} failed: ${first}`;
  const conflicting = /^(.*has conflicting definition values):$/.exec(first);
  if (conflicting) return `${conflicting[1]}: ${definitionsIn(block).join(", ")}`;
  const issues = /marked as insecure/.test(first) ? knownIssues(lines, at) : [];
  return issues.length === 0 ? first : `${first.replace(/\.$/, "")}: ${issues.join("; ")}`;
}

export function assertionsIn(block: string): string[] {
  if (!/Failed assertions:/.test(block)) return [];
  return [...block.matchAll(/^\s*- (.*)$/gm)].map((match) => match[1] ?? "");
}

/** The values that a message lists, each with its file: "- In `/…/configuration.nix': true". */
function definitionsIn(block: string): string[] {
  return [...block.matchAll(/^\s*- In `(.*)': ?(.*)$/gm)].map(([, file, value]) =>
    value === "" ? `in ${file}` : `${value} in ${file}`,
  );
}

function knownIssues(lines: readonly string[], at: number): string[] {
  const heading = lines.findIndex((line, index) => index > at && /^\s*Known issues:$/.test(line));
  if (heading < 0) return [];
  const rest = lines.slice(heading + 1);
  const end = rest.findIndex((line) => !/^\s*- /.test(line));
  return rest.slice(0, end < 0 ? undefined : end).map((line) => line.replace(/^\s*- /, ""));
}

/** The message and what belongs to it: up to an empty line, a position or the next frame of the trace. */
export function messageBlock(lines: readonly string[], at: number): string {
  const block = [lines[at] ?? ""];
  for (const line of lines.slice(at + 1)) {
    if (AT.test(line) || /^\s*…/.test(line) || (line.trim() === "" && !/assertions/.test(block.join("")))) break;
    block.push(line);
  }
  return block.join("\n");
}

/** The lines of the frame that leads to the error, in the versions that put the error last; none in 2.8. */
export function frameAbove(lines: readonly string[], at: number): string[] {
  let start = at - 1;
  while (start >= 0 && !/^\s*(?:…|error:)/.test(lines[start] ?? "")) start -= 1;
  return start >= 0 && /^\s*…/.test(lines[start] ?? "") ? lines.slice(start, at) : [];
}

export function lastWords(lines: readonly string[], status: number): string {
  return lines.findLast((line) => line.trim() !== "")?.trim() ?? `Nix ended with status ${status} and said nothing`;
}

export function refusedPackage(block: string): string | undefined {
  const [, older, newer] =
    /Package ‘([^’]+)’ in .*refusing to evaluate|Refusing to evaluate package '([^']+)'/.exec(block) ?? [];
  return older ?? newer;
}
