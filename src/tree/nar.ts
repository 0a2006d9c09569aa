import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  createWriteStream,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setImmediate } from "node:timers/promises";
import { createGzip, constants as zlib } from "node:zlib";
import { HostError } from "../errors.ts";

/** Bytes that are read and packed at a time. */
const BLOCK = 256 * 1024;

/** What a NAR is of. Names are bytes: one need not be UTF-8. */
export type NarNode =
  | { kind: "directory"; entries(): Iterable<readonly [Buffer, NarNode]> }
  | { kind: "link"; target: Buffer }
  | { kind: "text"; bytes: Buffer }
  /** `open` gives a descriptor, which is closed here; `name` is for people. */
  | { kind: "file"; executable: boolean; name: string; open(): number };

/**
 * NAR, Nix's archive format (Eelco Dolstra's thesis, figure 5.2): names, contents, executable bits and symlinks, in the bytes'
 * order of names, and nothing else. Strings are a 64-bit little-endian length, the bytes, and zeros up to a multiple of 8.
 *
 * Nothing waits for another thread, which for a configuration's small files takes ten times as long as reading them.
 */
export function* narOf(root: string | NarNode): Generator<Buffer> {
  yield strings("nix-archive-1");
  yield* pieces(typeof root === "string" ? onDisk(root) : root);
}

/** A file or directory on disk. */
export function onDisk(file: string | Buffer): NarNode {
  const bytes = Buffer.from(file);
  const info = lstatSync(bytes);
  if (info.isSymbolicLink()) return { kind: "link", target: readlinkSync(bytes, { encoding: "buffer" }) };
  if (info.isFile()) {
    const executable = (info.mode & 0o100) !== 0;
    return { kind: "file", executable, name: bytes.toString(), open: () => openSync(bytes, "r") };
  }
  if (!info.isDirectory()) throw new HostError(`${bytes.toString()} is neither a file, a directory nor a symlink`);
  return {
    kind: "directory",
    *entries() {
      for (const name of readdirSync(bytes, { encoding: "buffer" })) {
        yield [name, onDisk(Buffer.concat([bytes, Buffer.from("/"), name]))];
      }
    },
  };
}

function* pieces(node: NarNode): Generator<Buffer> {
  switch (node.kind) {
    case "link":
      yield strings("(", "type", "symlink", "target", node.target, ")");
      break;
    case "text":
      yield strings("(", "type", "regular", "contents", node.bytes, ")");
      break;
    case "file":
      yield strings("(", "type", "regular", ...(node.executable ? ["executable", ""] : []), "contents");
      yield* contents(node);
      yield strings(")");
      break;
    case "directory":
      yield strings("(", "type", "directory");
      for (const [name, child] of [...node.entries()].sort(([a], [b]) => Buffer.compare(a, b))) {
        yield strings("entry", "(", "name", name, "node");
        yield* pieces(child);
        yield strings(")");
      }
      yield strings(")");
  }
}

function* contents({ name, open }: Extract<NarNode, { kind: "file" }>): Generator<Buffer> {
  const opened = open();
  let size = 0;
  let read = 0;
  try {
    ({ size } = fstatSync(opened));
    yield length(size);
    for (;;) {
      // One byte more than there should be, so that a file that has grown is found out.
      const block = Buffer.allocUnsafe(Math.min(size + 1, BLOCK));
      const count = readSync(opened, block);
      if (count === 0) break;
      read += count;
      yield block.subarray(0, count);
    }
  } finally {
    closeSync(opened);
  }
  if (read !== size) throw new HostError(`${name} changed while it was read`);
  yield padding(size);
}

function strings(...values: (string | Buffer)[]): Buffer {
  const pieces: Buffer[] = [];
  for (const value of values) {
    const bytes = typeof value === "string" ? Buffer.from(value) : value;
    pieces.push(length(bytes.length), bytes, padding(bytes.length));
  }
  return Buffer.concat(pieces);
}

function length(size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(size));
  return bytes;
}

function padding(size: number): Buffer {
  return Buffer.alloc((8 - (size % 8)) % 8);
}

/** The same bytes in blocks, between which everything else has its turn. */
async function* blocksOf(pieces: Iterable<Buffer>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = [];
  let size = 0;
  for (const piece of pieces) {
    waiting.push(piece);
    size += piece.length;
    if (size < BLOCK) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    size = 0;
    await setImmediate();
  }
  yield Buffer.concat(waiting);
}

/** The NAR hash of a file or directory as Nix prints it: `sha256-` and base64 (SRI). */
export async function narDigest(root: string | NarNode): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of blocksOf(narOf(root))) hash.update(piece);
  return `sha256-${hash.digest("base64")}`;
}

export interface Archive {
  /** `SHA256HEX.nar.gz`, of the compressed bytes. */
  name: string;
  /** Of the compressed bytes. */
  size: number;
  /** Hex, of the compressed bytes. */
  sha256: string;
  /** The NAR hash of what is in it, SRI. */
  digest: string;
}

/** Packs a release directory: its NAR, gzipped. The same content gives the same bytes wherever zlib is the same. */
export async function archive(root: string): Promise<Archive & { bytes: Buffer }> {
  const pieces: Buffer[] = [];
  const packed = await pack(root, async (source) => {
    for await (const piece of source) pieces.push(piece);
  });
  return { ...packed, bytes: Buffer.concat(pieces) };
}

/** As `archive`, into a file of its name in `dir`: those of a large fleet don't fit into memory. */
export async function archiveInto(dir: string, root: string | NarNode): Promise<Archive & { file: string }> {
  const temporary = path.join(dir, `.packing-${randomUUID()}`);
  const packed = await pack(root, (source) => pipeline(source, createWriteStream(temporary, { flags: "wx" })));
  const file = path.join(dir, packed.name);
  await rename(temporary, file);
  return { ...packed, file };
}

/** Gives the archive's bytes to `into`, and says what they were. */
async function pack(root: string | NarNode, into: (source: AsyncIterable<Buffer>) => Promise<void>): Promise<Archive> {
  const nar = createHash("sha256");
  async function* hashed() {
    for await (const piece of blocksOf(narOf(root))) {
      nar.update(piece);
      yield piece;
    }
  }
  const gzip = createGzip({ level: zlib.Z_BEST_COMPRESSION, chunkSize: BLOCK / 4 });
  const source = Readable.from(hashed(), { objectMode: false });
  source.on("error", (error) => gzip.destroy(error));
  const hash = createHash("sha256");
  let size = 0;
  async function* counted() {
    for await (const piece of source.pipe(gzip) as AsyncIterable<Buffer>) {
      hash.update(piece);
      size += piece.length;
      yield piece;
    }
  }
  await into(counted());
  const sha256 = hash.digest("hex");
  return { name: `${sha256}.nar.gz`, size, sha256, digest: `sha256-${nar.digest("base64")}` };
}
