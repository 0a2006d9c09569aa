import { inert } from "../inert.ts";

/**
 * What a command says while it works. Results are returned, never printed here. Two adapters: `terminalOutput` (stderr) and
 * `actionsOutput` (workflow commands and groups).
 */
export interface Output {
  /** A step that a reader wants to see. One line. */
  info(line: string): void;
  /** Shown with --verbose, and behind `::debug::` on Actions. */
  debug(line: string): void;
  warning(line: string): void;
  /** What goes on right now, e.g. "3/16 hosts evaluated". Overwritten in place on a terminal. */
  progress(line: string): void;
  /** Clears the progress line, before something else is printed. */
  done(): void;
  /**
   * Begins a part with many steps: folded on Actions, plain lines elsewhere, and on a terminal, where the progress line tells as
   * much, shown with --verbose only. One at a time.
   */
  group(title: string): Group;
  /** A long text that the result leaves out on Actions: folded there, and not shown elsewhere. */
  folded(title: string, text: string): void;
}

export interface Group {
  line(text: string): void;
  end(): void;
}

export interface TerminalOptions {
  verbose: boolean;
  stream?: NodeJS.WriteStream;
}

/** Writes to stderr: a live progress line on a terminal, and plain lines elsewhere. */
export function terminalOutput({ verbose, stream = process.stderr }: TerminalOptions): Output {
  let live = false;
  const clear = () => {
    if (live) stream.write("\r\x1b[K");
    live = false;
  };
  const line = (text: string) => {
    clear();
    stream.write(`${inert(text)}\n`);
  };
  return {
    info: line,
    debug: (text) => {
      if (verbose) line(text);
    },
    warning: (text) => line(`warning: ${text}`),
    progress: (text) => {
      // In a log file a line that changes ten times a second is noise, so elsewhere than on a terminal it is left out.
      if (!stream.isTTY) return;
      // A terminal that doesn't know how wide it is says 0.
      stream.write(`\r\x1b[K${inert(text).slice(0, Math.max(20, (stream.columns || 80) - 1))}`);
      live = true;
    },
    done: clear,
    group: (title) => {
      const say = (text: string) => {
        if (verbose || !stream.isTTY) line(text);
      };
      say(title);
      return { line: say, end: () => {} };
    },
    folded: () => {},
  };
}
