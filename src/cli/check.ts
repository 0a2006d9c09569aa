import path from "node:path";
import type { Command } from "commander";
import { build } from "../commands/build.ts";
import { check } from "../commands/check.ts";
import { plan } from "../commands/plan.ts";
import { report } from "../commands/report.ts";
import { renderCheck } from "../render/check.ts";
import { renderPlan } from "../render/lists.ts";
import { checkOptions, common, nixOptions, wholeNumber, withBase, withHosts, withNix } from "./options.ts";
import { show } from "./session.ts";

/** What is evaluated and built, on one machine or several. */
export function addCheckCommands(bento: Command): void {
  withBase(withNix(withHosts(common(bento.command("check")))))
    .description("dry-build every host: evaluate it, and say what would be built and fetched")
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          check(context, { fleet: fleet(), hosts, ...checkOptions(options), ...nixOptions(options) }),
        (document, { paint, verbose }) => renderCheck(document, paint, verbose),
      ),
    );

  withNix(withHosts(common(bento.command("plan"))))
    .description("divide the hosts: among several machines, for check --shard, and in time, for deploy --wave")
    .option("--shards <number>", "among how many machines, at most", wholeNumber)
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          plan(context, {
            fleet: fleet(),
            hosts,
            shards: options.shards ?? null,
            dirty: false,
            ...nixOptions(options),
          }),
        (document, { paint }) => renderPlan(document, paint),
      ),
    );

  common(bento.command("report <files...>"))
    .description("show the documents of check --shard --json as one")
    .action((files: string[], options) =>
      show(
        options,
        ({ context }) => report(context, { files }),
        (document, { paint, verbose }) => renderCheck(document, paint, verbose),
      ),
    );

  withBase(withNix(withHosts(common(bento.command("build")))))
    .description("build every host, and keep the results alive")
    .option("--roots <directory>", "where the gc roots are (default: below $XDG_STATE_HOME/bento/roots)")
    .option("--sign-key <file>", "sign what was built with this key of the cache's (default: BENTO_CACHE_KEY)")
    .option("--push [url]", "copy it to this Nix store (default: cache.push of fleet.yaml)")
    .option("--prune", "of each host, keep only the last three systems and the one that it runs", false)
    .option("--logs <directory>", "where the logs of failed builds are put (default: $XDG_STATE_HOME/bento/logs)")
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          build(context, {
            fleet: fleet(),
            hosts,
            ...checkOptions(options),
            roots: options.roots === undefined ? null : path.resolve(options.roots),
            signKey: options.signKey === undefined ? null : path.resolve(options.signKey),
            push: options.push ?? null,
            prune: options.prune,
            logs: options.logs === undefined ? null : path.resolve(options.logs),
            ...nixOptions(options),
          }),
        (document, { paint }) => renderCheck(document, paint, true),
      ),
    );
}
