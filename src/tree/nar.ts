import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import { createGzip, type Gzip } from "node:zlib";
import { HostError } from "../errors.ts";
import { BLOCK, NarBlock, strings } from "./nar-block.ts";

/** Of zlib's. The highest makes a configuration 9 % smaller, and takes more than three times as long. */
const LEVEL = 5;

/** What a NAR is of. Names are bytes: one need not be UTF-8. */
export type NarNode =
  | { kind: "directory"; entries(): Iterable<readonly [Buffer, NarNode]> }
  | { kind: "link"; target: Buffer }
  | { kind: "text"; bytes: Buffer }
  /** What `open` gives is closed here; `name` is for people. */
  | { kind: "file"; executable: boolean; name: string; open(): OpenFile };

export interface OpenFile {
  descriptor: number;
  /** In bytes. */
  size: number;
}

/**
 * NAR, Nix's archive format (Eelco Dolstra's thesis, figure 5.2): names, contents, executable bits and symlinks, in the bytes'
 * order of names, and nothing else. Strings are a 64-bit little-endian length, the bytes, and zeros up to a multiple of 8.
 *
 * Gives it in blocks; `newBlock` makes the place for the next one, and may give the same again, when a block is not looked at
 * any more. Nothing waits for another thread, which for a configuration's small files takes ten times as long as reading them.
 */
export function* narOf(
  root: string | NarNode,
  newBlock: () => Buffer = () => Buffer.allocUnsafe(BLOCK),
): Generator<Buffer> {
  const block = new NarBlock(newBlock);
  block.put(MAGIC);
  yield* pieces(block, typeof root === "string" ? onDisk(root) : root);
  yield block.take();
}

const MAGIC = strings("nix-archive-1");
const LINK = strings("(", "type", "symlink", "target");
const FILE = strings("(", "type", "regular", "contents");
const EXECUTABLE = strings("(", "type", "regular", "executable", "", "contents");
const DIRECTORY = strings("(", "type", "directory");
const ENTRY = strings("entry", "(", "name");
const NODE = strings("node");
const END = strings(")");
/** More than a name or a symlink can have, and all that is around it. */
const LEAST = 8 * 1024;

/** A file or directory on disk. */
export function onDisk(file: string | Buffer): NarNode {
  const bytes = Buffer.from(file);
  const info = lstatSync(bytes);
  if (info.isSymbolicLink()) return { kind: "link", target: readlinkSync(bytes, { encoding: "buffer" }) };
  if (info.isFile()) {
    const executable = (info.mode & 0o100) !== 0;
    const open = () => {
      const descriptor = openSync(bytes, "r");
      return { descriptor, size: fstatSync(descriptor).size };
    };
    return { kind: "file", executable, name: bytes.toString(), open };
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

function* pieces(block: NarBlock, node: NarNode): Generator<Buffer> {
  if (block.room < LEAST) yield block.take();
  switch (node.kind) {
    case "link":
      block.put(LINK);
      block.string(node.target);
      break;
    case "text":
      block.put(FILE);
      block.length(node.bytes.length);
      for (let at = 0; at < node.bytes.length; ) {
        if (block.room === 0) yield block.take();
        const piece = node.bytes.subarray(at, at + block.room);
        block.put(piece);
        at += piece.length;
      }
      if (block.room < LEAST) yield block.take();
      block.pad(node.bytes.length);
      break;
    case "file":
      block.put(node.executable ? EXECUTABLE : FILE);
      yield* contents(block, node);
      break;
    case "directory":
      block.put(DIRECTORY);
      for (const [name, child] of [...node.entries()].sort(([a], [b]) => Buffer.compare(a, b))) {
        if (block.room < LEAST) yield block.take();
        block.put(ENTRY);
        block.string(name);
        block.put(NODE);
        yield* pieces(block, child);
        if (block.room < LEAST) yield block.take();
        block.put(END);
      }
  }
  if (block.room < LEAST) yield block.take();
  block.put(END);
}

function* contents(block: NarBlock, { name, open }: Extract<NarNode, { kind: "file" }>): Generator<Buffer> {
  const { descriptor, size } = open();
  let read = 0;
  try {
    block.length(size);
    for (;;) {
      if (block.room === 0) yield block.take();
      // One byte more than there should be, so that a file that has grown is found out.
      const wanted = Math.min(size + 1 - read, block.room);
      const count = block.fill((bytes) => readSync(descriptor, bytes, 0, wanted, null));
      read += count;
      if (count === 0 || read > size || (read === size && count < wanted)) break;
    }
  } finally {
    closeSync(descriptor);
  }
  if (read !== size) throw new HostError(`${name} changed while it was read`);
  if (block.room < LEAST) yield block.take();
  block.pad(size);
}

/** The NAR hash of a file or directory as Nix prints it: `sha256-` and base64 (SRI). */
export async function narDigest(root: string | NarNode): Promise<string> {
  const hash = createHash("sha256");
  const place = spare.pop() ?? Buffer.allocUnsafe(BLOCK);
  try {
    for (const block of narOf(root, () => place)) {
      hash.update(block);
      // Everything else has its turn.
      await setImmediate();
    }
  } finally {
    spare.push(place);
  }
  return `sha256-${hash.digest("base64")}`;
}

/** Places for blocks that nobody uses now, as many as there were ever used at a time. */
const spare: Buffer[] = [];

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
  const packed = await pack(root, (piece) => pieces.push(piece));
  return { ...packed, bytes: Buffer.concat(pieces) };
}

/** As `archive`, into a file of its name in `dir`: those of a large fleet don't fit into memory. */
export async function archiveInto(dir: string, root: string | NarNode): Promise<Archive & { file: string }> {
  const temporary = path.join(dir, `.packing-${randomUUID()}`);
  const into = openSync(temporary, "wx");
  try {
    const packed = await pack(root, (piece) => writeFileSync(into, piece));
    const file = path.join(dir, packed.name);
    renameSync(temporary, file);
    return { ...packed, file };
  } finally {
    closeSync(into);
  }
}

/** Gives the archive's bytes to `take`, and says what they were. */
async function pack(root: string | NarNode, take: (piece: Buffer) => void): Promise<Archive> {
  const nar = createHash("sha256");
  const gzip = createGzip({ level: LEVEL, chunkSize: BLOCK / 4 });
  const place = spare.pop() ?? Buffer.allocUnsafe(BLOCK);
  const feed = async () => {
    for (const block of narOf(root, () => place)) {
      nar.update(block);
      await write(gzip, block);
    }
    gzip.end();
  };
  const fed = feed().catch((error) => {
    gzip.destroy(error);
  });
  const hash = createHash("sha256");
  let size = 0;
  try {
    for await (const piece of gzip as AsyncIterable<Buffer>) {
      hash.update(piece);
      size += piece.length;
      take(piece);
    }
  } finally {
    await fed;
    spare.push(place);
  }
  const sha256 = hash.digest("hex");
  return { name: `${sha256}.nar.gz`, size, sha256, digest: `sha256-${nar.digest("base64")}` };
}

/** When it is over, nobody looks at `block` any more. */
function write(gzip: Gzip, block: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    gzip.write(block, (error) => (error ? reject(error) : resolve()));
  });
}
