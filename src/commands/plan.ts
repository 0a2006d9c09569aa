import { loadFleet } from "../fleet/load.ts";
import { selectHosts, shardOf } from "../fleet/select.ts";
import { Nix } from "../nix/nix.ts";
import type { PlanDocument } from "../results.ts";
import type { CheckOptions } from "./check.ts";
import type { Context } from "./context.ts";
import { openMemory, withFlakeHosts } from "./evaluation.ts";
import { loadRenderedFleet, openFleet } from "./open-fleet.ts";

export interface PlanOptions extends Omit<CheckOptions, "shard" | "base"> {
  /** Into how many parts at most; null for none, for which Nix isn't needed. */
  shards: number | null;
}

/** Divides a fleet's hosts: among machines, for `check --shard`, and in time, for `deploy --wave`. */
export async function plan(context: Context, options: PlanOptions): Promise<PlanDocument> {
  const shards = options.shards === null ? [] : await shardsOf(context, options, options.shards);
  return { version: 1, command: "plan", shards, waves: await wavesOf(options) };
}

/** No more parts than there are hosts. */
async function shardsOf(context: Context, options: PlanOptions, most: number): Promise<PlanDocument["shards"]> {
  await using open = await openFleet(await loadRenderedFleet(options.fleet), options);
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
  const count = Math.min(most, selected.length);
  return Array.from({ length: count }, (_, n) => ({
    shard: `${n + 1}/${count}`,
    hosts: shardOf(selected, { index: n + 1, count }).map((host) => host.name),
  }));
}

async function wavesOf({ fleet, hosts }: PlanOptions): Promise<PlanDocument["waves"]> {
  const loaded = await loadFleet(fleet);
  const declared = loaded.hosts.filter((host) => host.declared);
  if (declared.length === 0) return [];
  const selected = selectHosts(declared, hosts).map((host) => host.name);
  if (loaded.waves === null) return [{ wave: "all", hosts: selected }];
  return loaded.waves.map((names, n) => ({
    wave: String(n + 1),
    hosts: names.filter((name) => selected.includes(name)),
  }));
}
