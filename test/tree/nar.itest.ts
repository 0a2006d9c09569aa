import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, lutimes, mkdir, readFile, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { HostError } from "../../src/errors.ts";
import { archive, narDigest, narOf } from "../../src/tree/nar.ts";
import { scratch, writeTree } from "../platform/scratch.ts";

// ---- Trees of any shape, with names of any bytes.

type Name = Uint8Array;
type Tree =
  | { type: "file"; content: Uint8Array; mode: number }
  | { type: "link"; target: Name }
  | { type: "directory"; entries: [Name, Tree][] };

const odd = ["é", "雪", "e\u0301", " ", "\n", "\t", "-", ".", "..", "~", "'", '"', "\\", "A", "a", "a.b", "\u{1f40e}"];
const name: fc.Arbitrary<Name> = fc
  .oneof(
    fc.array(fc.constantFrom(...odd), { minLength: 1, maxLength: 4 }).map((parts) => Buffer.from(parts.join(""))),
    fc.uint8Array({ min: 1, max: 255, minLength: 1, maxLength: 9 }),
    fc.constantFrom("x".repeat(7), "x".repeat(8), "x".repeat(9), "y".repeat(255)).map((text) => Buffer.from(text)),
  )
  .filter((bytes) => !bytes.includes(0x2f) && ![".", ".."].includes(Buffer.from(bytes).toString("latin1")));

const sizes = [0, 1, 7, 8, 9, 15, 16, 17, 4095, 4096, 4097, 65_535, 65_536, 65_537, 131_072, 131_079];
const content = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.tuple(fc.constantFrom(...sizes), fc.nat(255)).map(([size, byte]) => Buffer.alloc(size, byte)),
);
const file: fc.Arbitrary<Tree> = fc.record({
  type: fc.constant("file" as const),
  content,
  // Executable to its owner or not, whatever it is to others.
  mode: fc.constantFrom(0o755, 0o644, 0o700, 0o677, 0o744, 0o611),
});
const link: fc.Arbitrary<Tree> = fc.record({ type: fc.constant("link" as const), target: name });
const { tree } = fc.letrec<{ tree: Tree; directory: Tree }>((tie) => ({
  tree: fc.oneof({ maxDepth: 4 }, file, link, tie("directory")),
  directory: fc.record({
    type: fc.constant("directory" as const),
    entries: fc.uniqueArray(fc.tuple(name, tie("tree")), {
      maxLength: 6,
      selector: ([bytes]) => Buffer.from(bytes).toString("hex"),
    }),
  }),
}));

async function write(at: Buffer, node: Tree): Promise<void> {
  switch (node.type) {
    case "file":
      await writeFile(at, node.content);
      return chmod(at, node.mode);
    case "link":
      return symlink(Buffer.from(node.target), at);
    case "directory":
      await mkdir(at);
      for (const [entry, child] of node.entries) await write(Buffer.concat([at, Buffer.from("/"), entry]), child);
  }
}

const nix = (program: string, ...args: string[]) => execFileSync(program, args, { maxBuffer: 1024 ** 3 });

const commands = ["--extra-experimental-features", "nix-command"];

// ----

test("any tree has the archive and the digest that Nix gives it", async () => {
  await fc.assert(
    fc.asyncProperty(tree, async (node) => {
      await using dir = await scratch();
      const place = path.join(dir.path, "tree");
      await write(Buffer.from(place), node);
      const dump = nix("nix-store", "--dump", place);
      expect(Buffer.compare(Buffer.concat([...narOf(place)]), dump)).toBe(0);
      expect(await narDigest(place)).toBe(`sha256-${createHash("sha256").update(dump).digest("base64")}`);
    }),
    { numRuns: 40 },
  );
});

test("the digest is the one that Nix prints, and the same in its own base 32", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "tree/a": "1", "tree/b/c": { executable: "2" } });
  const place = path.join(dir.path, "tree");
  expect(await narDigest(place)).toBe(
    nix("nix", ...commands, "hash", "path", place)
      .toString()
      .trim(),
  );
  const base32 = nix("nix-hash", "--type", "sha256", "--base32", place).toString().trim();
  expect(
    nix("nix-hash", "--to-base32", "--type", "sha256", await narDigest(place))
      .toString()
      .trim(),
  ).toBe(base32);
});

test("an archive restores to the same tree with gzip and nix-store alone", async () => {
  await fc.assert(
    fc.asyncProperty(tree, async (node) => {
      await using dir = await scratch();
      const place = path.join(dir.path, "tree");
      await write(Buffer.from(place), node);
      const packed = await archive(place);
      expect(packed.digest).toBe(await narDigest(place));
      expect(packed.size).toBe(packed.bytes.length);
      await writeFile(path.join(dir.path, packed.name), packed.bytes);
      execFileSync(
        "bash",
        [
          "-euo",
          "pipefail",
          "-c",
          'sha256sum "$0" | cut -d" " -f1 | grep -qxF "$1" && gzip -dc "$0" | nix-store --restore restored',
          packed.name,
          packed.sha256,
        ],
        { cwd: dir.path },
      );
      expect(await narDigest(path.join(dir.path, "restored"))).toBe(packed.digest);
      // The digest compares what both have in common; Nix itself says that it is the same, byte for byte.
      const restored = nix("nix-store", "--dump", path.join(dir.path, "restored"));
      expect(Buffer.compare(restored, gunzipSync(packed.bytes))).toBe(0);
    }),
    { numRuns: 15 },
  );
});

test("files of every size around a block are whole", async () => {
  await using dir = await scratch();
  const place = path.join(dir.path, "tree");
  await mkdir(place);
  for (const size of [...sizes, 1_000_000, 3 * 65_536 + 3]) {
    await writeFile(path.join(place, String(size)), Buffer.alloc(size, size % 251));
  }
  expect(Buffer.compare(Buffer.concat([...narOf(place)]), nix("nix-store", "--dump", place))).toBe(0);
});

test("times, owners' umasks, modes beside the executable bit and the order of creation don't matter", async () => {
  await using dir = await scratch();
  const files = { b: "1", "a/z": { executable: "2" }, "a/y": { link: "z" }, "a-b": "3", "a.b": "4" } as const;
  const one = path.join(dir.path, "one");
  const two = path.join(dir.path, "two");
  await writeTree(one, files);
  const umask = process.umask(0o077);
  try {
    await writeTree(two, Object.fromEntries(Object.entries(files).reverse()));
  } finally {
    process.umask(umask);
  }
  await chmod(path.join(two, "a/z"), 0o711);
  await chmod(path.join(two, "b"), 0o677);
  for (const name of ["b", "a", "a-b"]) await utimes(path.join(two, name), 1, 1_000_000_000);
  await lutimes(path.join(two, "a/y"), 1, 1);
  expect(await narDigest(two)).toBe(await narDigest(one));
  expect((await archive(two)).name).toBe((await archive(one)).name);
});

test("each of name, content, executable bit and target is in the digest", async () => {
  await using dir = await scratch();
  const trees = [
    { a: "1" },
    { a: "2" },
    { b: "1" },
    { a: { executable: "1" } },
    { a: { link: "1" } },
    { a: { link: "2" } },
    { "a/b": "1" },
    { a: "1", b: "" },
  ] as const;
  const digests = new Set<string>();
  for (const [index, files] of trees.entries()) {
    const place = path.join(dir.path, String(index));
    await writeTree(place, files);
    digests.add(await narDigest(place));
  }
  expect(digests.size).toBe(trees.length);
});

test("a fifo is refused rather than waited for", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "tree/file": "x" });
  execFileSync("mkfifo", [path.join(dir.path, "tree/pipe")]);
  for (const pack of [narDigest, archive]) {
    const error = await pack(path.join(dir.path, "tree")).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HostError);
    expect((error as Error).message).toMatch(/tree\/pipe is neither a file, a directory nor a symlink$/);
  }
});

test("a file that changes while it is read is not half of one and half of another", async () => {
  await using dir = await scratch();
  const place = path.join(dir.path, "file");
  await writeFile(place, "x".repeat(1_000_000));
  const pieces = narOf(place);
  // Its size has been said.
  pieces.next();
  await truncate(place, 500_000);
  expect(() => [...pieces]).toThrow(`${place} changed while it was read`);
});

test("what isn't there is an error, and doesn't hang", async () => {
  await using dir = await scratch();
  await expect(archive(path.join(dir.path, "nothing"))).rejects.toThrow(/ENOENT/);
  expect(await readFile(path.join(dir.path, "nothing")).catch(() => "none")).toBe("none");
});
