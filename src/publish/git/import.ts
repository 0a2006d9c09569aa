import { HostError } from "../../errors.ts";
import type { NarEntry } from "../../tree/nar-entries.ts";

/** The file of a commit that is the host's envelope; everything else in it is the release directory. */
export const ENVELOPE_FILE = "envelope";

export interface ReleaseCommit {
  /** The ref that gets the commit. */
  ref: string;
  /** Null for the first of a host. */
  parent: string | null;
  envelope: string;
  /** What is in the release directory; the same array for hosts with the same release. */
  entries: readonly NarEntry[];
  message: string;
  /** Milliseconds since 1970. */
  time: number;
}

const AUTHOR = "Bento <bento@localhost>";

/**
 * A stream for git-fast-import(1), which takes content as it is: no filter, no attribute and no conversion of line ends comes
 * in between, as it would with anything that goes through a work tree. Content that is in several releases is in it once.
 */
export class ImportStream {
  readonly #pieces: Buffer[] = [];
  /** The files of releases that are in the stream already: what a commit says of each. */
  readonly #known = new Map<readonly NarEntry[], Buffer>();
  #marks = 0;
  /** Bytes so far. */
  size = 0;

  /** @throws HostError for a release that a commit can't hold. */
  add({ ref, parent, envelope, entries, message, time }: ReleaseCommit): void {
    const files = this.#known.get(entries) ?? this.#files(entries);
    this.#known.set(entries, files);
    this.#text(`commit ${ref}\ncommitter ${AUTHOR} ${Math.floor(time / 1000)} +0000\n`);
    this.#data(Buffer.from(message));
    if (parent !== null) this.#text(`from ${parent}\n`);
    this.#text(`deleteall\nM 100644 inline ${ENVELOPE_FILE}\n`);
    this.#data(Buffer.from(envelope));
    this.#push(files);
    this.#text("\n");
  }

  end(): Buffer {
    this.#text("done\n");
    return Buffer.concat(this.#pieces);
  }

  #files(entries: readonly NarEntry[]): Buffer {
    const lines: Buffer[] = [];
    // Looked at before anything is written, so that one release that can't be had leaves no trace of itself.
    for (const entry of entries) refuseUnfit(entry);
    for (const entry of entries) {
      if (entry.kind === "directory") continue;
      this.#marks += 1;
      this.#text(`blob\nmark :${this.#marks}\n`);
      this.#data(entry.kind === "link" ? entry.target : entry.contents);
      const mode = entry.kind === "link" ? "120000" : entry.executable ? "100755" : "100644";
      lines.push(Buffer.from(`M ${mode} :${this.#marks} `), quoted(entry.path), Buffer.from("\n"));
    }
    return Buffer.concat(lines);
  }

  #data(bytes: Buffer): void {
    this.#text(`data ${bytes.length}\n`);
    this.#push(bytes);
    this.#text("\n");
  }

  #text(text: string): void {
    this.#push(Buffer.from(text));
  }

  #push(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.size += bytes.length;
  }
}

function refuseUnfit(entry: NarEntry): void {
  const name = entry.path.toString("utf8");
  if (name === "" && entry.kind !== "directory") throw new HostError("the release is no directory");
  if (name === ENVELOPE_FILE) throw new HostError(`the release has a file '${ENVELOPE_FILE}' beside its tree`);
  if (entry.kind === "directory" && entry.empty) {
    throw new HostError(`git can't hold the empty directory ${name}`, { hint: "put a file into it" });
  }
}

/** A path as in C, where anything but these three may stand as it is. */
function quoted(path: Buffer): Buffer {
  const text = path.toString("latin1").replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return Buffer.from(`"${text}"`, "latin1");
}
