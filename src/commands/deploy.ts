import { selectHosts } from "../fleet/select.ts";
import { chooseWave, type Wave } from "../fleet/waves.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { stayFrugal } from "../platform/frugal.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import { Publishers } from "../publish/publishers.ts";
import { requireSigner } from "../release/envelope.ts";
import { openPrivateKey } from "../release/keys.ts";
import { gateReason } from "../reports/gate.ts";
import type { DeployDocument, HostDeploy } from "../results.ts";
import type { Context } from "./context.ts";
import { Ancestry } from "./deploy/ancestry.ts";
import { type Planner, type PlanningOptions, planAll } from "./deploy/planning.ts";
import { nothing, type Prepared, prepare, type Step } from "./deploy/prepare.ts";
import { lockFor, signAndPublish } from "./deploy/publishing.ts";
import { notYetWell } from "./deploy/rollout.ts";
import { openMemory, withFlakeHosts } from "./evaluation.ts";
import { copyWarnings } from "./init/copy-warnings.ts";
import { describeKey, keysFromEnvironment, PUBLISHER_KEY, SIGNING_KEY } from "./keys.ts";
import { loadRenderedFleet, openFleet } from "./open-fleet.ts";
import { waysOut } from "./ways-out.ts";

export interface DeployOptions extends PlanningOptions {
  fleet: string;
  hosts: readonly string[];
  /** False ships trees without evaluating them, with `toplevel: null`. */
  evaluate: boolean;
  nix: NixPassthrough;
  /** Milliseconds for one host's evaluation. */
  timeout: number;
  /** Only these hosts of the rollout; null for all of a fleet without one. */
  wave: Wave | null;
  /** Milliseconds to wait for another deploy that holds the lock, and for the hosts of the waves before. */
  wait: number;
}

/**
 * Publishes the releases of the hosts that changed. Hosts whose evaluation fails are never published; the others are.
 * @throws FleetError, UnavailableError; what is wrong with a single host is in its result.
 */
export async function deploy(context: Context, options: DeployOptions): Promise<DeployDocument> {
  stayFrugal();
  // 1. The way out. A connection takes a dozen round trips, in which what follows is done; where that fails, it isn't waited for.
  const loaded = await loadRenderedFleet(options.fleet);
  const { signers } = loaded;
  const needed = loaded.server === null ? ([SIGNING_KEY] as const) : ([PUBLISHER_KEY, SIGNING_KEY] as const);
  keysFromEnvironment(context.env, ...needed);
  const unneeded = new AbortController();
  const signal = AbortSignal.any([context.signal, unneeded.signal]);
  await using ways = await waysOut({ ...context, signal }, loaded);
  await using connecting = Publishers.opening(ways.list, () => unneeded.abort());

  // 2. The fleet's repository, the key that signs, and the commit.
  await using opened = await openFleet(loaded, { dirty: false });
  const [signingSource] = keysFromEnvironment(context.env, SIGNING_KEY);
  await using signingKey = await openPrivateKey(signingSource, describeKey(SIGNING_KEY));
  requireSigner(signingKey, signers);
  const commit = await opened.repository.head();

  // 3. What each host should get: its tree, and the system that must come out of it.
  const nix = options.evaluate ? await Nix.find(options.nix, context.signal) : null;
  const { stager } = opened;
  const evaluator = nix && {
    context,
    nix,
    stager,
    memory: openMemory(context.env),
    derivations: false,
    limits: options,
  };
  const fleet = evaluator === null ? opened.fleet : await withFlakeHosts(opened.fleet, evaluator);
  const wave = chooseWave(fleet.waves, options.wave, options.hosts.length > 0);
  const selected = selectHosts(fleet.hosts, options.hosts).filter(({ name }) => wave.hosts?.includes(name) ?? true);
  const before = fleet.hosts.filter(({ name }) => wave.before.includes(name));
  await using archives = await temporaryDirectory();
  const prepared = await prepare(opened, evaluator, selected, commit, archives.path);
  const preparedBefore = await prepare(opened, evaluator, before, commit, archives.path);

  // 4. What each host has.
  const publishers = await meanwhile(connecting.opened, prepared);
  const planner = { ancestry: new Ancestry(opened.repository, commit.id), signers };
  const document = { version: 1, command: "deploy", dryRun: options.dryRun } as const;
  const warnings = [...fleet.warnings, ...(await copyWarnings(fleet, opened.repository))];

  // 5. A wave goes after all hosts of the waves before it have what it has, and are well.
  const blocking = await blockingHosts(context, publishers, planner, preparedBefore, options);
  if (blocking.length > 0) {
    const reason = `an earlier wave is not done: ${blocking.map(({ name }) => name).join(", ")}`;
    const held = selected.map((host): HostDeploy => ({ ...nothing(host), status: "skipped", reason }));
    return { ...document, warnings, hosts: [...blocking, ...held] };
  }

  // 6. Who needs a release. What is published is read while the lock is taken, which saves round trips.
  const current = await publishers.read(namesOf(prepared), options.dryRun ? null : lockFor(context, options));
  const planned = await planAll(planner, prepared, current, options);

  // 7. Sign what is new, and put it up.
  return { ...document, warnings, hosts: await signAndPublish(context, publishers, signingKey, planned) };
}

/** Packs releases for as long as there is no connection to ask what of them is new: there is nothing else to do. */
async function meanwhile<T>(opened: Promise<T>, prepared: readonly Step<Prepared>[]): Promise<T> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  opened.then(over, over);
  for (const step of prepared) {
    // What is wrong with one is told when it is needed.
    if (!isOver && !("result" in step)) await step.value.pack().catch(() => {});
  }
  return await opened;
}

/** The hosts of earlier waves that have another release than this commit's, or are not well with it, each with why. */
async function blockingHosts(
  context: Context,
  publishers: Publishers,
  planner: Planner,
  before: readonly Step<Prepared>[],
  { wait }: Pick<DeployOptions, "wait">,
): Promise<HostDeploy[]> {
  if (before.length === 0) return [];
  const current = await publishers.read(namesOf(before), null);
  // Never forced: that would publish again what is there already.
  const planned = await planAll(planner, before, current, { dryRun: true, force: false });
  const results = planned.flatMap((step) => ("result" in step ? [step.result] : []));
  const behind = results.flatMap((result): HostDeploy[] => {
    if (result.status === "failed") return [result];
    if (result.status !== "published") return [];
    const message = "this commit's release is not published for it yet";
    return [{ ...result, status: "failed", error: { message, hint: "deploy the waves in their order" } }];
  });
  if (behind.length > 0) return behind;
  const published = new Map(results.map((result) => [result.name, result]));
  const hosts = before.map(({ host }) => host).filter(({ name }) => published.get(name)?.status === "unchanged");
  const unwell = await notYetWell(context, publishers.statusSource, hosts, planner.signers, wait);
  return unwell.flatMap((status) => {
    const result = published.get(status.name);
    return result === undefined ? [] : [{ ...result, status: "failed", error: { message: gateReason(status) } }];
  });
}

/** The hosts that are still on their way. */
function namesOf(steps: readonly Step<unknown>[]): string[] {
  return steps.flatMap((step) => ("result" in step ? [] : [step.host.name]));
}
