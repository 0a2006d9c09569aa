import fc from "fast-check";
import { expect, test } from "vitest";
import { code, folded, markdownTable, plain } from "../../src/render/markdown.ts";
import { HOSTILE } from "./documents.ts";

/** Everything that has a meaning to markdown, HTML or GitHub, unless it is part of an entity that we made. */
const ENTITY = /&#\d+;/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these, too, must not be there.
const SPECIAL = /[\\`*_{}[\]<>#!|~&@:$^'"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

/** What a browser shows: where GitHub looks for mentions and references. */
const shown = (html: string) => html.replace(ENTITY, (entity) => String.fromCodePoint(Number(entity.slice(2, -1))));

function expectText(markdown: string): void {
  expect(markdown.replace(ENTITY, "")).not.toMatch(SPECIAL);
  expect(markdown).not.toMatch(/www\./i);
  expect(shown(markdown)).not.toMatch(/@\w|#\d/);
}

test.each(HOSTILE)("%j is text and nothing else", (text) => expectText(plain(text)));

test("any text at all is text and nothing else", () => {
  const piece = fc.oneof(
    fc.constantFrom(...HOSTILE.join(""), "www.", "@ada", "#1"),
    fc.integer({ min: 0, max: 0x10ffff }).map(String.fromCodePoint),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => expectText(plain(pieces.join("")))),
    { numRuns: 100 },
  );
});

test("what a browser shows is what was there", () => {
  const text = "attribute 'nginxx' missing at /etc/nixos/a_b.nix:6:34 | `x` <b> 100 % é 漢 🔶";
  expect(shown(plain(text))).toBe(text);
});

test("long text is cut before it is escaped, so that no entity is", () => {
  expect(plain("|".repeat(1000), 10)).toBe(`${"&#124;".repeat(9)}…`.replace("…", "&#8230;"));
  expect(code("a|b")).toBe("<code>a&#124;b</code>");
});

test("a table has a line for its head, one below it, and one for each row", () => {
  expect(
    markdownTable(
      ["A", "B"],
      [
        ["1", "2"],
        ["3", ""],
      ],
    ),
  ).toBe("| A | B |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |");
});

test.each(HOSTILE)("behind a line to click on, %j stays inside", (text) => {
  const html = folded("title", `before\n\n\n${text}\n\nafter`, 10_000);
  expect(html.match(/<\/?(?:details|summary|pre)>/g)).toEqual([
    "<details>",
    "<summary>",
    "</summary>",
    "<pre>",
    "</pre>",
    "</details>",
  ]);
  expect(html.replace(/<\/?(?:details|summary|pre)>/g, "")).not.toMatch(/[<>]/);
  // An empty line ends a block of HTML, and what follows would be markdown again.
  expect(html).not.toMatch(/\n[ \t]*\n/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(html).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
});

test("of a long text its ends are shown, at one of which the cause is, and that there was more", () => {
  const text = ["error: the cause", ...Array.from({ length: 100 }, () => "a frame"), "the last"].join("\n");
  expect(folded("t", text, 40)).toBe(
    "<details><summary>t</summary><pre>error: the cause\n…\na frame\nthe last</pre></details>",
  );
  expect(folded("t", `begin${"x".repeat(100)}end`, 10)).toBe(
    "<details><summary>t</summary><pre>begin\n…\nxxend</pre></details>",
  );
});
