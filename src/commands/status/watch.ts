import { setTimeout as sleep } from "node:timers/promises";
import { FleetError, InterruptedError, UnavailableError, UnreachableError } from "../../errors.ts";
import { inertLine } from "../../inert.ts";
import type { Screen } from "../../platform/screen.ts";
import { changeLine, renderStatus, watchLines } from "../../render/status.ts";
import type { Paint } from "../../render/terminal.ts";
import type { StatusDocument } from "../../results.ts";
import type { Context } from "../context.ts";
import { FleetStatus, type StatusOptions } from "../status.ts";

export interface WatchOptions {
  screen: Screen;
  paint: Paint;
  /** Milliseconds between two looks. */
  interval: number;
  /** What is done with what was seen, beside showing it. */
  deliver: (document: StatusDocument) => Promise<void>;
}

const SHORTEST = 1_000;

/**
 * Looks again and again, until it is interrupted, and gives what it saw last. On a terminal the table stays in its place; elsewhere
 * it is printed once, and then a line for each host whose state changes. A server that can't be reached is asked again.
 * @throws FleetError; UnavailableError when the server is not the pinned one or refuses the key; InterruptedError before the
 * first look.
 */
export async function watch(context: Context, options: StatusOptions, watching: WatchOptions): Promise<StatusDocument> {
  const { paint, interval } = watching;
  if (interval < SHORTEST) throw new FleetError("--interval must be a second at least, such as 10s");
  using screen = watching.screen;
  let last: StatusDocument | undefined;
  // What goes wrong on the way has its place below the table.
  let trouble = "";
  const output = { ...context.output, info: (line: string) => show(inertLine(line)) };
  screen.onResize(() => show(trouble));
  let fleet: FleetStatus | undefined;
  try {
    for (;;) {
      try {
        fleet ??= await FleetStatus.open({ ...context, output }, options);
        const document = await fleet.read();
        const before = last;
        last = document;
        trouble = "";
        if (screen.isLive) show("");
        else if (before === undefined) screen.append(renderStatus(document, paint, Date.parse(document.time)));
        else for (const line of changes(before, document)) screen.append(line);
        await watching.deliver(document).catch(complain);
      } catch (error) {
        if (error instanceof InterruptedError || !(error instanceof UnreachableError)) throw error;
        // At first it may as well be a mistake in fleet.yaml.
        if (last === undefined) throw error;
        await fleet?.[Symbol.asyncDispose]();
        fleet = undefined;
        show(inertLine(error.message));
      }
      await sleep(interval, undefined, { signal: context.signal });
    }
  } catch (error) {
    if (!context.signal.aborted || last === undefined) throw error;
    return last;
  } finally {
    await fleet?.[Symbol.asyncDispose]();
  }

  /** A page that can't be written, or a command that failed, is tried again the next time. */
  function complain(error: unknown): void {
    if (!(error instanceof UnavailableError)) throw error;
    show(inertLine(error.message));
  }

  function show(line: string): void {
    const isNews = line !== trouble;
    trouble = line;
    if (!screen.isLive) {
      if (line !== "" && isNews) context.output.info(line);
    } else if (last !== undefined) {
      screen.draw(watchLines(last, paint, { ...sizeOf(screen), trouble, now: Date.now() }));
    }
  }
}

function sizeOf({ columns, rows }: Screen): { columns: number; rows: number } {
  return { columns, rows };
}

/** A line for each host that is otherwise than before. */
function changes(before: StatusDocument, after: StatusDocument): string[] {
  return after.hosts.flatMap((host) => {
    const old = before.hosts.find(({ name }) => name === host.name);
    const isSame = old?.state === host.state && old.published?.sequence === host.published?.sequence;
    return isSame ? [] : [changeLine(after.time, old, host)];
  });
}
