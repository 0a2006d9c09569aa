import { expect, test } from "vitest";
import { annotations } from "../../src/render/annotations.ts";
import { check, checked, deploy, deployed, failing, reported, status } from "./documents.ts";

test("each failed host is an error at its place, with what to do", () => {
  const at = { file: "hosts/a/configuration.nix", line: 3, column: 7 };
  const document = check([failing("a", "boom", { ...at, hint: "mend it" }), checked("b"), failing("c", "bang")], {
    warnings: ["careful"],
  });
  expect(annotations(document, ".")).toEqual([
    { level: "error", title: "a", message: "boom\n→ mend it", ...at },
    { level: "error", title: "c", message: "bang" },
    { level: "warning", title: "Bento", message: "careful" },
  ]);
  expect(annotations(document, "machines/here")[0]).toMatchObject({ file: "machines/here/hosts/a/configuration.nix" });
});

test.each([
  [10, 10, undefined],
  [11, 10, "2 more failed hosts: see the summary"],
  [500, 10, "491 more failed hosts: see the summary"],
])("of %d failed hosts GitHub shows %d annotations", (failed, shown, last) => {
  const hosts = Array.from({ length: failed }, (_, index) => failing(`h${index}`, "boom"));
  const all = annotations(check(hosts), ".");
  expect(all).toHaveLength(shown);
  expect(all.filter(({ title }) => /^h\d/.test(title))).toHaveLength(last === undefined ? 10 : 9);
  expect(all.at(-1)?.message).toBe(last ?? "boom");
});

test("warnings have ten of their own", () => {
  const document = check([failing("a", "boom")], { warnings: Array.from({ length: 12 }, (_, index) => `w${index}`) });
  const all = annotations(document, ".");
  expect(all.filter(({ level }) => level === "error")).toHaveLength(1);
  expect(all.filter(({ level }) => level === "warning")).toHaveLength(10);
  expect(all.at(-1)).toMatchObject({ level: "warning", message: "3 more warnings: see the summary" });
});

test("a deploy's failures too; status is about machines, and has no place in the code", () => {
  const document = deploy([deployed("a", { status: "failed", error: { message: "no space" } })]);
  expect(annotations(document, ".")).toEqual([{ level: "error", title: "a", message: "no space" }]);
  const hosts = [reported("a", { state: "failed" })];
  expect(annotations(status(hosts), ".")).toEqual([]);
});
