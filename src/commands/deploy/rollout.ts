import { setTimeout as sleep } from "node:timers/promises";
import { duration } from "../../duration.ts";
import { InterruptedError } from "../../errors.ts";
import type { Host } from "../../fleet/fleet.ts";
import type { StatusSource } from "../../publish/publisher.ts";
import { type Gate, gateOf } from "../../reports/gate.ts";
import type { HostStatus } from "../../results.ts";
import type { Context } from "../context.ts";
import { statusesOf } from "../status.ts";

/** Milliseconds between looks at what hosts report. They poll every few minutes. */
const LOOK = 10_000;

/**
 * Looks at the hosts of earlier waves until each has reported that it runs what is published for it, one has reported that it
 * doesn't, or `wait` milliseconds are over. Gives those that don't: none means that the next wave may be published.
 */
export async function notYetWell(
  context: Context,
  source: StatusSource,
  hosts: readonly Host[],
  signers: readonly string[],
  wait: number,
): Promise<HostStatus[]> {
  const end = performance.now() + wait;
  let said = "";
  for (;;) {
    const statuses = await statusesOf(source, hosts, signers);
    const at = (gate: Gate) => statuses.filter(({ state }) => gateOf(state) === gate);
    const waiting = at("wait");
    const closed = at("closed");
    const left = end - performance.now();
    if (closed.length > 0 || waiting.length === 0 || left <= 0) {
      context.output.done();
      return [...closed, ...waiting];
    }
    const names = waiting.map(({ name }) => name);
    const others = names.length > 3 ? ` and ${names.length - 3} more` : "";
    const text = `waiting for ${names.slice(0, 3).join(", ")}${others} to report`;
    // A log gets a line when there is news, and a terminal the time that is left.
    if (text !== said) context.output.info(`${text}, ${duration(left)} at most`);
    said = text;
    context.output.progress(`${text}: ${duration(left)} left`);
    try {
      await sleep(Math.min(LOOK, left), undefined, { signal: context.signal });
    } catch {
      throw new InterruptedError();
    }
  }
}
