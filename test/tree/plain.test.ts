import { expect, test } from "vitest";
import { HostError } from "../../src/errors.ts";
import type { NarEntry } from "../../src/tree/nar-entries.ts";
import { plainTree } from "../../src/tree/plain.ts";

/** A release: directories, files with their contents, and symlinks (`-> target`). */
function release(entries: Record<string, string | null>): NarEntry[] {
  const all: Record<string, string | null> = { "": null, tree: null, ...entries };
  return Object.entries(all).map(([name, text]): NarEntry => {
    const path = Buffer.from(name);
    if (text === null) return { path, kind: "directory", empty: false };
    if (text.startsWith("-> ")) return { path, kind: "link", target: Buffer.from(text.slice(3)) };
    return { path, kind: "file", executable: text.startsWith("#!"), contents: Buffer.from(text) };
  });
}

function brief(entries: Record<string, string | null>): Record<string, string | null> {
  return Object.fromEntries(
    plainTree(release(entries)).map((entry) => [
      entry.path,
      entry.kind === "directory" ? null : `${entry.executable ? "x " : ""}${entry.contents}`,
    ]),
  );
}

test("it is the tree alone, without secrets, with executable bits", () => {
  expect(
    brief({ secrets: null, "secrets/a.age": "secret", "tree/b": null, "tree/b/run": "#!/bin/sh", "tree/c": "text" }),
  ).toEqual({ b: null, "b/run": "x #!/bin/sh", c: "text" });
});

test("symlinks are what they lead to, through other symlinks too", () => {
  expect(
    brief({
      "tree/dir": null,
      "tree/dir/file": "text",
      "tree/dir/up": "-> ../other",
      "tree/other": "-> dir/file",
      "tree/same": "-> ./dir",
    }),
  ).toEqual({
    dir: null,
    "dir/file": "text",
    "dir/up": "text",
    other: "text",
    same: null,
    "same/file": "text",
    "same/up": "text",
  });
});

test("those that lead nowhere, or out of the tree, are left out", () => {
  expect(
    brief({
      secrets: null,
      "secrets/a.age": "secret",
      "tree/a": "-> nothing",
      "tree/b": "-> /etc/passwd",
      "tree/c": "-> ../secrets/a.age",
      "tree/d": "-> d",
      "tree/e": "-> ../../..",
    }),
  ).toEqual({});
});

test("one without an end is refused", () => {
  expect(() => brief({ "tree/a": null, "tree/a/b": "-> ../a" })).toThrow(HostError);
  expect(() => brief({ "tree/a": "-> ." })).toThrow(HostError);
});
