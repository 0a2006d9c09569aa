import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { count, painter, size, table, tally, warnings } from "../../src/render/terminal.ts";

test("columns line up, whatever is painted, and no line ends in spaces", () => {
  const red = painter(true);
  expect(
    table([
      ["a", "bb", "c"],
      ["long", "b", ""],
      [red("red", "x"), red("dim", "yyy"), "z"],
    ]).map(stripVTControlCharacters),
  ).toEqual(["a     bb   c", "long  b", "x     yyy  z"]);
});

test("every column begins at one place in all rows", () => {
  const cell = fc.string({ unit: fc.constantFrom("a", "b", "é", "✓"), minLength: 1, maxLength: 9 });
  const rows = fc
    .integer({ min: 1, max: 5 })
    .chain((columns) =>
      fc.array(fc.array(cell, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 6 }),
    );
  fc.assert(
    fc.property(rows, (cells) => {
      const lines = table(cells);
      const columns = cells[0]?.length ?? 0;
      for (let column = 0, begins = 0; column < columns; column++) {
        for (const [row, line] of lines.entries()) {
          expect(line.slice(begins)).toMatch(new RegExp(`^${cells[row]?.[column]}(?: |$)`));
        }
        begins += Math.max(...cells.map((row) => row[column]?.length ?? 0)) + 2;
      }
    }),
  );
});

test("no colours are no codes at all", () => {
  expect(painter(false)("red", "x")).toBe("x");
  expect(painter(true)("red", "x")).toBe("\u001b[31mx\u001b[39m");
});

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1536, "1.5 KiB"],
  [3.4 * 1024 ** 2, "3.4 MiB"],
  [2 * 1024 ** 4, "2.0 TiB"],
  [4096 * 1024 ** 4, "4096.0 TiB"],
])("%d bytes are %s", (bytes, text) => expect(size(bytes)).toBe(text));

test("counts are in words that fit", () => {
  expect([count(0, "host"), count(1, "host"), count(2, "host")]).toEqual(["0 hosts", "1 host", "2 hosts"]);
  expect(tally(["ok", "failed", "ok"], ["failed", "changed", "ok"])).toBe("3 hosts: 1 failed, 2 ok");
});

test("a warning is one line", () => {
  expect(warnings(["a\nb\u001b[2J"], painter(false))).toEqual(["warning: a b\ufffd[2J"]);
});
