import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { copyClosure } from "../nix/copy.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { type SshOptions, sshOptions } from "../reach/ssh.ts";
import { inspectThere, type UpgradeThere, upgradeThere } from "../reach/upgrade.ts";
import type { DeployDocument, HostFailure, HostPush, HostTrigger, PushDocument } from "../results.ts";
import { build } from "./build.ts";
import type { Context } from "./context.ts";
import { deploy } from "./deploy.ts";
import { keysFromEnvironment, PUBLISHER_KEY, SIGNING_KEY } from "./keys.ts";
import { oneHost } from "./one-host.ts";
import { reachableHost } from "./trigger.ts";

export interface PushOptions {
  fleet: string;
  /** The host's name. */
  host: string;
  /** As of deploy. */
  force: boolean;
  nix: NixPassthrough;
  /** Milliseconds for its evaluation. */
  timeout: number;
  /** Milliseconds to wait for another deploy that holds the lock. */
  wait: number;
  ssh: SshOptions;
  /** Milliseconds for which a connection that broke is tried to be made again. */
  patience: number;
}

/** Upgrades that are waited for because they were under way already, of an older release. */
const OLDER_ONES = 3;

/**
 * Gives one host its release now: it is built here, copied there, published as a deploy of this host, and taken by the host's
 * agent at once. The agent does what it does with any release, guard and confirmation included, and the fleet sees one like any
 * other; only the waiting and the building there are saved.
 * @throws FleetError, UnavailableError; what is wrong with the host itself is in its result.
 */
export async function push(context: Context, options: PushOptions): Promise<PushDocument> {
  // 1. Whether it can be done at all, before anything is.
  const fleet = await loadFleet(options.fleet);
  const host = oneHost(fleet.hosts, options.host);
  const reach = reachableHost(host);
  if (fleet.server === null && fleet.git === null) {
    throw new FleetError("fleet.yaml has neither a server nor a git remote to publish the release at", {
      hint: "a host takes only what is published for it: see 'server' and 'git' in the README",
    });
  }
  keysFromEnvironment(
    context.env,
    ...(fleet.server === null ? [SIGNING_KEY] : ([PUBLISHER_KEY, SIGNING_KEY] as const)),
  );
  const nix = await Nix.find(options.nix, context.signal);
  const { signal, output } = context;
  const nothing: HostPush = {
    name: host.name,
    status: "failed",
    toplevel: null,
    published: null,
    sequence: null,
    outcome: null,
    reason: null,
    running: null,
    error: null,
  };
  const done = (result: Partial<HostPush>): PushDocument => ({
    version: 1,
    command: "push",
    hosts: [{ ...nothing, ...result }],
  });
  const failed = (error: HostFailure, result: Partial<HostPush> = {}) => done({ ...result, status: "failed", error });
  output.progress(`asking ${host.name} how it is`);
  const { problem, sudo } = await inspectThere(reach, { ssh: options.ssh, signal });
  if (problem !== null) return failed(problem);
  // What a deploy would refuse is better told before hours of building, and before anything is on the host.
  const publishing = { ...options, hosts: [host.name], evaluate: true, wave: null };
  const refusal = refusalOf(await deploy(context, { ...publishing, dryRun: true }));
  if (refusal !== null) return failed(refusal);

  // 2. Its system, built here and copied there.
  const built = await build(context, {
    ...options,
    hosts: [host.name],
    base: null,
    shard: null,
    dirty: false,
    roots: null,
    prune: false,
    signKey: null,
    push: null,
    logs: null,
  });
  const [system] = built.hosts;
  if (system === undefined || system.toplevel === null || system.error !== null) {
    return failed(system?.error ?? { message: "it could not be evaluated" });
  }
  const { toplevel } = system;
  output.info(`copying ${toplevel}`);
  const copying = await copyClosure(nix, toplevel, reach.target, {
    sshOptions: sshOptions(reach.target, options.ssh),
    sudo,
    onOutput: (text) => {
      for (const line of text.split("\n")) if (line !== "") output.debug(line);
    },
  });
  if (copying !== null) return failed(copying, { toplevel });

  // 3. Its release, as ever.
  const deployed = await deploy(context, { ...publishing, dryRun: false });
  const refused = refusalOf(deployed);
  if (refused !== null) return failed(refused, { toplevel });
  const [release] = deployed.hosts;
  if (release === undefined || release.sequence === null) throw new Error("what is published has a sequence");
  const { sequence } = release;
  const published = { toplevel: release.toplevel, published: release.status, sequence };
  output.info(`release ${sequence} is ${release.status === "published" ? "published" : "published already"}`);

  // 4. Taken at once.
  const upgrade = await upgradeTo(sequence, () =>
    upgradeThere(reach, { ssh: options.ssh, signal, patience: options.patience, onLine: output.info }),
  );
  const { outcome, reason, running } = upgrade;
  if (upgrade.error !== null) return failed(upgrade.error, { ...published, outcome, reason, running });
  return done({ ...published, status: "ok", outcome, reason, running });
}

/** Why a deploy leaves its one host without a release of this commit; null when it doesn't. */
function refusalOf({ hosts: [release] }: DeployDocument): HostFailure | null {
  if (release?.status === "published" || release?.status === "unchanged") return null;
  return release?.error ?? { message: release?.reason ?? "it was not published" };
}

/** The upgrade to a release, after those to older ones that were under way when it was published. */
async function upgradeTo(sequence: number, attempt: () => Promise<UpgradeThere>): Promise<HostTrigger> {
  for (let older = 0; ; older++) {
    const { result: upgrade, attempted } = await attempt();
    // The timer may have been faster: then what was joined is this very upgrade, whatever became of it.
    const isThis = upgrade.sequence === sequence || attempted === sequence;
    if (isThis || (upgrade.error !== null && !upgrade.joined)) return upgrade;
    if (upgrade.joined && older < OLDER_ONES) continue;
    const what = upgrade.reason === null ? "" : `: ${upgrade.reason}`;
    const error = upgrade.error ?? {
      message: `it runs release ${upgrade.sequence ?? "?"}, and not ${sequence}${what}`,
    };
    return { ...upgrade, status: "failed", error };
  }
}
