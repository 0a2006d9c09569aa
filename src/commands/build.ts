import { existsSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { addRoot, pruneRoots, realise } from "../nix/build.ts";
import { packageChanges } from "../nix/difference.ts";
import { Nix } from "../nix/nix.ts";
import { parallel } from "../platform/parallel.ts";
import type { CheckDocument, HostCheck } from "../results.ts";
import { type CheckOptions, check } from "./check.ts";
import type { Context } from "./context.ts";

export interface BuildOptions extends CheckOptions {
  /** Where the gc roots of results are, a directory for each host. */
  roots: string | null;
}

/** Systems of a host that stay alive. */
const KEEP = 3;

/**
 * Builds the hosts' systems and keeps the last three of each alive. Hosts that can't be evaluated, or don't build, fail; the
 * others are built.
 */
export async function build(context: Context, options: BuildOptions): Promise<CheckDocument> {
  const checked = await check(context, { ...options, derivations: true });
  const nix = await Nix.find(options.nix, context.signal);
  const roots = options.roots ?? defaultRoots(context.env);
  let done = 0;
  // One at a time: Nix itself builds as much at once as the machine is set up for.
  const hosts = await parallel(checked.hosts, 1, async (host): Promise<HostCheck> => {
    if (host.drv === null || host.toplevel === null) return host;
    context.output.progress(`building ${host.name} (${done} of ${checked.hosts.length} done)`);
    const failure = await realise(nix, host.drv, (text) => {
      for (const line of text.split("\n")) if (line !== "") context.output.debug(line);
    });
    done += 1;
    if (failure !== null) return { ...host, status: "failed", error: failure };
    const directory = path.join(roots, host.name);
    await addRoot(nix, host.toplevel, directory);
    await pruneRoots(directory, KEEP);
    // Now that it is built, what is in it counts, rather than what it took to build; if what was before is there, too.
    const { base, toplevel, packages } = host;
    const isBuilt = packages !== null && base !== null && existsSync(base);
    return isBuilt ? { ...host, packages: await packageChanges(nix, base, toplevel) } : host;
  });
  context.output.done();
  return { ...checked, command: "build", hosts };
}

function defaultRoots(env: NodeJS.ProcessEnv): string {
  return path.join(env.XDG_STATE_HOME || path.join(env.HOME || homedir(), ".local/state"), "bento/roots");
}
