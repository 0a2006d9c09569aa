import { selectHosts, shardOf } from "../fleet/select.ts";
import { Nix } from "../nix/nix.ts";
import type { PlanDocument } from "../results.ts";
import type { CheckOptions } from "./check.ts";
import type { Context } from "./context.ts";
import { openFleet, openMemory, withFlakeHosts } from "./evaluation.ts";

export interface PlanOptions extends Omit<CheckOptions, "shard" | "base"> {
  /** Into how many parts at most. */
  shards: number;
}

/** Divides a fleet's hosts among machines, for `check --shard`: no more parts than there are hosts. */
export async function plan(context: Context, options: PlanOptions): Promise<PlanDocument> {
  await using open = await openFleet(options.fleet, options);
  const nix = await Nix.find(options.nix, context.signal);
  const evaluator = {
    context,
    nix,
    stager: open.stager,
    memory: openMemory(context.env),
    derivations: false,
    limits: options,
  };
  const { hosts } = await withFlakeHosts(open.fleet, evaluator);
  const selected = selectHosts(hosts, options.hosts);
  const count = Math.min(options.shards, selected.length);
  const shards = Array.from({ length: count }, (_, n) => ({
    shard: `${n + 1}/${count}`,
    hosts: shardOf(selected, { index: n + 1, count }).map((host) => host.name),
  }));
  return { version: 1, command: "plan", shards };
}
