import { mkdir } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { explainFailure } from "../../src/nix/failure.ts";
import { findInNixFiles } from "../../src/nix/search.ts";
import { scratch, writeTree } from "../platform/scratch.ts";

const COPY = `${"1".repeat(32)}-source`;
/** What NIXPKGS stands for. */
export const NIXPKGS = `/nix/store/${"2".repeat(32)}-source`;

/** Explains `text`, in which TREE is the staged tree, COPY its copy in the store, OUT what is around the store and NIXPKGS somewhere else. */
export async function explain(text: string, kind: "flake" | "channel" = "flake", files: Record<string, string> = {}) {
  await using dir = await scratch();
  const treeDir = path.join(dir.path, "staged/0/tree");
  const copy = path.join(dir.path, "nix/store", COPY);
  await mkdir(treeDir, { recursive: true });
  await writeTree(treeDir, files);
  const stderr = text
    .replaceAll("TREE", treeDir)
    .replaceAll("COPY", copy)
    .replaceAll("OUT", path.join(dir.path, "nix"))
    .replaceAll("NIXPKGS", NIXPKGS);
  const origin = (file: string) => `hosts/web/${file}`.replace("hosts/web/utils", "utils");
  const places = {
    dirs: kind === "flake" ? [treeDir, copy] : [treeDir],
    origin,
    find: (pattern: RegExp) =>
      findInNixFiles(treeDir, pattern).map(({ file, ...place }) => ({ file: origin(file), ...place })),
  };
  const { trace, ...failure } = explainFailure({ stderr, status: 1 }, places, {
    kind,
    path: "hosts/web",
    include: null,
  });
  expect(trace ?? "").not.toContain(treeDir);
  return failure;
}
