import { expect, test } from "vitest";
import { summary } from "../../src/render/summary.ts";
import { check, checked, deploy, deployed, failing, HOSTILE, reported, status } from "./documents.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");
/** GitHub drops a summary that is larger. */
const MIB = 1024 * 1024;

test("failures first, then the others in their order", () => {
  const text = summary(check([checked("a"), failing("b", "x"), checked("c"), failing("d", "y")]), NOW);
  expect([...text.matchAll(/^\| \S+ \| <code>(.)<\/code>/gm)].map((match) => match[1])).toEqual(["b", "d", "a", "c"]);
});

test("a failure in a cell: where, why and what to do", () => {
  const text = summary(check([failing("a", "boom", { file: "f.nix", line: 1, column: 2, hint: "mend it" })]), NOW);
  expect(text).toContain("| ❌ | <code>a</code> | failed | <code>f.nix&#58;1&#58;2</code> boom<br>→ mend it |  |\n");
});

test("a deploy, and a dry run", () => {
  const hosts = [
    deployed("a"),
    deployed("b", { status: "unchanged" }),
    deployed("c", { status: "skipped", sequence: null, reason: "it has no key" }),
  ];
  const text = summary(deploy(hosts), NOW);
  expect(text).toContain("| ✅ | <code>a</code> | published | release 1795430400000 of 0123456789ab |");
  expect(text).toContain("| ⚪ | <code>b</code> | unchanged | release 1795430400000 of 0123456789ab |");
  expect(text).toContain("| ➖ | <code>c</code> | skipped | it has no key |");
  expect(summary(deploy(hosts, { dryRun: true }), NOW)).toMatch(
    /^## Bento deploy: 3 hosts, dry run\n.*would be published/s,
  );
});

test("status: the worst first", () => {
  const hosts = [
    reported("a"),
    reported("b", { state: "silent", lastContact: "2026-11-23T09:00:00.000Z", reason: "not heard of for 3 hours" }),
    reported("c", { state: "rolled-back" }),
  ];
  const text = summary(status(hosts), NOW);
  expect(
    [...text.matchAll(/^\| \S+ \| <code>(.)<\/code> \| ([\w ]+?) \|/gm)].map((match) => [match[1], match[2]]),
  ).toEqual([
    ["c", "rolled back"],
    ["b", "silent"],
    ["a", "up to date"],
  ]);
  expect(text).toContain("| silent | 3 hours ago | nothing | not heard of for 3 hours |");
});

test.each(HOSTILE)("%j breaks no table, and is no markup", (text) => {
  const document = check(
    [
      failing("a", text, { file: text, line: 1, column: 1, hint: text, trace: text }),
      checked("b", { warnings: [text] }),
    ],
    { base: text, warnings: [text] },
  );
  const [table = "", details = ""] = summary(document, NOW).split("<details>");
  for (const line of table.split("\n").filter((candidate) => candidate.startsWith("| "))) {
    expect(line.match(/\|/g)).toHaveLength(6);
  }
  expect(table.replace(/<\/?code>|<br>|&#\d+;/g, "")).not.toMatch(/[<>`@[\]*_]/);
  expect(details.match(/<\/pre>/g)).toHaveLength(1);
});

/** Hosts that fail with much to say, in letters of which many take more room in a summary than in memory. */
function failures(number: number) {
  const message = "é|<".repeat(100);
  const trace = "<漢>\n\n".repeat(4000);
  return Array.from({ length: number }, (_, index) =>
    failing(`host-${index}`, message, { file: "hosts/x.nix", trace }),
  );
}

test.each([10, 100, 500, 10_000])("with %d hosts that fail at length it is still one that GitHub shows", (number) => {
  const text = summary(check(failures(number), { warnings: Array(number).fill("é|<".repeat(100)) }), NOW);
  expect(Buffer.byteLength(text)).toBeLessThan(MIB);
  expect(text).toContain(`## Bento check: ${number} hosts`);
  const rows = text.match(/^\| ❌ /gm)?.length ?? 0;
  const more = Number(/^And (\d+) more hosts?: see the log/m.exec(text)?.[1] ?? 0);
  expect(rows + more).toBe(number);
  expect(rows).toBeGreaterThan(Math.min(number, 200) - 1);
  expect(text.match(/<details>/g)?.length ?? 0).toBe(text.match(/<\/details>/g)?.length ?? 0);
  if (number <= 10) expect(text.match(/<details>/g)).toHaveLength(number);
});
