import { expect, test } from "vitest";
import { changeText, planText, renderCheck } from "../../src/render/check.ts";
import { painter } from "../../src/render/terminal.ts";
import { check, checked, failing, HOSTILE } from "./documents.ts";

const plainly = painter(false);

test("each host's line, what is below it, warnings and the sum", () => {
  const document = check(
    [
      failing("a", "boom", {
        file: "hosts/a/configuration.nix",
        line: 3,
        column: 7,
        hint: "mend it",
        trace: "all of it",
      }),
      checked("bb", { plan: { build: 1, fetch: 2, download: 2048, unpacked: 4096 }, warnings: ["old"] }),
      checked("ccc", {
        status: "changed",
        base: "/nix/store/x",
        packages: [{ name: "curl", from: null, to: "8.17.0" }],
      }),
      checked("d", { status: "skipped", plan: null }),
    ],
    { base: "main", warnings: ["careful"] },
  );
  const text = [
    "✗  a    failed",
    "    hosts/a/configuration.nix:3:7: boom",
    "    → mend it",
    "✓  bb   ok       1 to build, 2 to fetch (2.0 KiB)",
    "    warning: old",
    "~  ccc  changed  nothing to build; +curl 8.17.0",
    "-  d    skipped",
    "warning: careful",
    "",
    "4 hosts: 1 failed, 1 changed, 1 ok, 1 skipped (compared with main)",
  ];
  expect(renderCheck(document, plainly, false).split("\n")).toEqual(text);
  text.splice(3, 0, "    all of it");
  expect(renderCheck(document, plainly, true).split("\n")).toEqual(text);
});

test.each([
  [null, ""],
  [{ build: 0, fetch: 0, download: 0, unpacked: 0 }, "nothing to build"],
  [{ build: 12, fetch: 0, download: 0, unpacked: 0 }, "12 to build"],
  [{ build: 0, fetch: 3, download: 1258291, unpacked: 9 }, "3 to fetch (1.2 MiB)"],
  [{ build: 0, fetch: 3, download: null, unpacked: null }, "3 to fetch"],
])("the plan %j is '%s'", (plan, text) => expect(planText({ plan })).toBe(text));

test.each([
  [null, null, "a new host"],
  ["/nix/store/x", null, ""],
  ["/nix/store/x", [], "no package changes its version"],
  [
    "/nix/store/x",
    [
      { name: "curl", from: null, to: "8.17.0" },
      { name: "nginx", from: "1.28", to: "1.29" },
      { name: "vim", from: "9.1", to: null },
    ],
    "+curl 8.17.0, nginx 1.28 → 1.29, -vim 9.1",
  ],
])("changes from %s: %j", (base, packages, text) => expect(changeText({ base, packages })).toBe(text));

test("of many packages eight are named and the others counted", () => {
  const packages = Array.from({ length: 10 }, (_, index) => ({ name: `p${index}`, from: "1", to: "2" }));
  expect(changeText({ base: "/x", packages })).toMatch(/^p0 1 → 2, .*p7 1 → 2, and 2 more packages$/);
  expect(changeText({ base: "/x", packages: packages.slice(0, 9) })).toMatch(/, and 1 more package$/);
});

test.each(HOSTILE)("%j stays on its line and paints nothing", (text) => {
  const document = check(
    [failing("a", text, { file: text, hint: text, trace: text }), checked("b", { warnings: [text] })],
    {
      base: text,
      warnings: [text],
    },
  );
  const brief = renderCheck(document, plainly, false);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  const control = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
  expect(brief).not.toMatch(control);
  expect(brief.split("\n")).toHaveLength(8);
  expect(renderCheck(document, plainly, true)).not.toMatch(control);
});
