/** A terminal that shows the same lines again and again, or a file or a pipe that gets new ones. */
export class Screen implements Disposable {
  /** Whether lines can be written over. */
  readonly isLive: boolean;
  readonly #stream: NodeJS.WriteStream;
  #onResize: (() => void) | undefined;
  #isOpen = false;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.isLive = stream.isTTY === true;
  }

  /** A terminal that doesn't know its size says 0. */
  get columns(): number {
    return this.#stream.columns || 80;
  }

  get rows(): number {
    return this.#stream.rows || 24;
  }

  /** What to do when its size changes. */
  onResize(draw: () => void): void {
    if (this.#onResize) this.#stream.off("resize", this.#onResize);
    this.#onResize = draw;
    this.#stream.on("resize", draw);
  }

  /**
   * Shows these lines and no others, on a page of their own: what was there before comes back in the end. Each line is written
   * over the one before, and nothing is cleared first, so nothing flickers.
   */
  draw(lines: readonly string[]): void {
    const body = lines.slice(0, this.rows).map((line) => `${line}${CLEAR_LINE}`);
    this.#stream.write(
      `${this.#isOpen ? "" : OPEN}${BEGIN_UPDATE}${HOME}${body.join("\n")}${CLEAR_BELOW}${END_UPDATE}`,
    );
    this.#isOpen = true;
  }

  /** A line behind all others. */
  append(line: string): void {
    this.#stream.write(`${line}\n`);
  }

  [Symbol.dispose](): void {
    if (this.#onResize) this.#stream.off("resize", this.#onResize);
    if (this.#isOpen) this.#stream.write(CLOSE);
    this.#isOpen = false;
  }
}

// ECMA-48, and DEC's and xterm's private modes: the other page, the cursor, and updates that are shown as one.
const OPEN = "\x1b[?1049h\x1b[?25l";
const CLOSE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[0m\x1b[K";
const CLEAR_BELOW = "\x1b[J";
const BEGIN_UPDATE = "\x1b[?2026h";
const END_UPDATE = "\x1b[?2026l";
