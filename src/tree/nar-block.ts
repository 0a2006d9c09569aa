/** Bytes of a NAR that are put together at a time. */
export const BLOCK = 256 * 1024;

/**
 * A block of a NAR in the making: one place for many small strings, instead of a buffer for each. Whoever puts something into it
 * has looked that there is room.
 */
export class NarBlock {
  readonly #newBlock: () => Buffer;
  #bytes: Buffer;
  #used = 0;

  constructor(newBlock: () => Buffer) {
    this.#newBlock = newBlock;
    this.#bytes = newBlock();
  }

  /** Bytes. */
  get room(): number {
    return this.#bytes.length - this.#used;
  }

  /** What there is. What comes next goes into another block. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#used);
    this.#bytes = this.#newBlock();
    this.#used = 0;
    return taken;
  }

  /** As it is. */
  put(bytes: Buffer): void {
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** With its length before it. */
  string(bytes: Buffer): void {
    this.length(bytes.length);
    this.put(bytes);
    this.pad(bytes.length);
  }

  length(size: number): void {
    this.#bytes.writeUInt32LE(size % 2 ** 32, this.#used);
    this.#bytes.writeUInt32LE(Math.floor(size / 2 ** 32), this.#used + 4);
    this.#used += 8;
  }

  /** What a string of that length has after it. */
  pad(size: number): void {
    const end = this.#used + ((8 - (size % 8)) % 8);
    this.#bytes.fill(0, this.#used, end);
    this.#used = end;
  }

  /** `read` puts bytes into the room there is, and gives how many. */
  fill(read: (room: Buffer) => number): number {
    const count = read(this.#bytes.subarray(this.#used));
    this.#used += count;
    return count;
  }
}

/** Strings that are the same in every NAR. */
export function strings(...values: readonly string[]): Buffer {
  const block = new NarBlock(() => Buffer.alloc(1024));
  for (const value of values) block.string(Buffer.from(value));
  return block.take();
}
