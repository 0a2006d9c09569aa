import { HostError } from "../errors.ts";

/** One thing in an archive. `path` is relative to its root, "" for the root itself, in the bytes it is made of. */
export type NarEntry = { path: Buffer } & (
  | { kind: "directory"; empty: boolean }
  | { kind: "file"; executable: boolean; contents: Buffer }
  | { kind: "link"; target: Buffer }
);

/**
 * What is in a NAR, each directory before what is in it. See nar.ts for the format.
 * @throws HostError when it is none.
 */
export function narEntries(nar: Buffer): NarEntry[] {
  const reader = new Reader(nar);
  reader.expect("nix-archive-1");
  const entries: NarEntry[] = [];
  node(reader, Buffer.alloc(0), entries);
  return entries;
}

function node(reader: Reader, path: Buffer, entries: NarEntry[]): void {
  reader.expect("(");
  reader.expect("type");
  const type = reader.text();
  if (type === "directory") {
    directory(reader, path, entries);
  } else if (type === "symlink") {
    reader.expect("target");
    entries.push({ path, kind: "link", target: reader.string() });
    reader.expect(")");
  } else if (type === "regular") {
    const field = reader.text();
    const executable = field === "executable";
    if (executable) {
      reader.expect("");
      reader.expect("contents");
    } else if (field !== "contents") {
      throw damaged();
    }
    entries.push({ path, kind: "file", executable, contents: reader.string() });
    reader.expect(")");
  } else {
    throw damaged();
  }
}

function directory(reader: Reader, path: Buffer, entries: NarEntry[]): void {
  const here = { path, kind: "directory" as const, empty: true };
  entries.push(here);
  for (let field = reader.text(); field !== ")"; field = reader.text()) {
    if (field !== "entry") throw damaged();
    here.empty = false;
    reader.expect("(");
    reader.expect("name");
    const name = reader.string();
    reader.expect("node");
    node(reader, path.length === 0 ? name : Buffer.concat([path, Buffer.from("/"), name]), entries);
    reader.expect(")");
  }
}

class Reader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  string(): Buffer {
    if (this.#offset + 8 > this.#bytes.length) throw damaged();
    const length = Number(this.#bytes.readBigUInt64LE(this.#offset));
    const start = this.#offset + 8;
    const end = start + length + ((8 - (length % 8)) % 8);
    if (end > this.#bytes.length) throw damaged();
    this.#offset = end;
    return this.#bytes.subarray(start, start + length);
  }

  text(): string {
    return this.string().toString("latin1");
  }

  expect(text: string): void {
    if (this.text() !== text) throw damaged();
  }
}

function damaged(): HostError {
  return new HostError("the archive is damaged");
}
