import { availableParallelism, hostname, userInfo } from "node:os";
import { FleetError } from "../errors.ts";
import type { Host } from "../fleet/fleet.ts";
import { selectHosts } from "../fleet/select.ts";
import { chooseWave, type Wave } from "../fleet/waves.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import type { Commit, Repository } from "../platform/git.ts";
import { parallel } from "../platform/parallel.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { Current, Publisher, Upload } from "../publish/publisher.ts";
import { SftpPublisher } from "../publish/sftp.ts";
import { open as openEnvelope, requireSigner, sealAll } from "../release/envelope.ts";
import { openPrivateKey } from "../release/keys.ts";
import type { Manifest } from "../release/manifest.ts";
import { archivesOf, type Candidate, isFarFuture, isSameRelease, nextManifest } from "../release/plan.ts";
import { gateReason } from "../reports/gate.ts";
import type { DeployDocument, HostDeploy, HostFailure } from "../results.ts";
import { type Archive, archiveInto } from "../tree/nar.ts";
import type { Context } from "./context.ts";
import {
  type Evaluator,
  evaluateFleet,
  type OpenFleet,
  openFleet,
  openMemory,
  stageAll,
  withFlakeHosts,
} from "./evaluation.ts";
import { describeKey, keysFromEnvironment, PUBLISHER_KEY, SIGNING_KEY } from "./keys.ts";
import { notYetWell } from "./rollout.ts";

export interface DeployOptions {
  fleet: string;
  hosts: readonly string[];
  /** Say what would be done, and do nothing. */
  dryRun: boolean;
  /** Publish also where the published commit is no ancestor of this one, or what is published can't be verified. */
  force: boolean;
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

/** A host on its way to being published, or out of the race with a result. */
type Step<T> = { host: Host; value: T } | { host: Host; result: HostDeploy };

/**
 * Publishes the releases of the hosts that changed. Hosts whose evaluation fails are never published; the others are.
 * @throws FleetError, UnavailableError; what is wrong with a single host is in its result.
 */
export async function deploy(context: Context, options: DeployOptions): Promise<DeployDocument> {
  // 1. The fleet at a commit, and the keys.
  await using opened = await openFleet(options.fleet, { dirty: false });
  const { server, signers } = opened.fleet;
  if (server === null)
    throw new FleetError("fleet.yaml has no server to deploy to", { hint: "see 'server' in the README" });
  const commit = await opened.repository.head();
  const [publisherSource, signingSource] = keysFromEnvironment(context.env, PUBLISHER_KEY, SIGNING_KEY);
  await using publisherKey = await openPrivateKey(publisherSource, describeKey(PUBLISHER_KEY));
  await using signingKey = await openPrivateKey(signingSource, describeKey(SIGNING_KEY));
  requireSigner(signingKey, signers);

  // 2. What each host should get: its tree, and the system that must come out of it.
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

  // 3. What each host has.
  await using publisher = await SftpPublisher.connect(server, publisherKey, {
    signal: context.signal,
    say: context.output.info,
  });
  const planner = { publisher, ancestry: new Ancestry(opened.repository, commit.id), signers };
  const document = { version: 1, command: "deploy", dryRun: options.dryRun } as const;
  const warnings = [
    ...fleet.warnings,
    ...(fleet.git === null ? [] : ["git in fleet.yaml: this version publishes to the sftp server only"]),
  ];

  // 4. A wave goes after all hosts of the waves before it have what it has, and are well.
  const blocking = await blockingHosts(context, planner, preparedBefore, options);
  if (blocking.length > 0) {
    const reason = `an earlier wave is not done: ${blocking.map(({ name }) => name).join(", ")}`;
    const held = selected.map((host): HostDeploy => ({ ...nothing(host), status: "skipped", reason }));
    return { ...document, warnings, hosts: [...blocking, ...held] };
  }

  // 5. Who needs a release. What is published is read while the lock is taken, which saves round trips.
  const owner = `${userInfo().username}@${hostname()}`;
  const onWait = (holder: string) => context.output.progress(`waiting for the lock of ${holder}`);
  const [current] = await Promise.all([
    readCurrent(publisher, prepared),
    options.dryRun ? undefined : publisher.lock(owner, { wait: options.wait, onWait }),
  ]);
  const planned = await planAll(planner, prepared, current, options);

  // 6. Sign, and put them up.
  const ready = planned.flatMap((step) => ("result" in step ? [] : [step.value]));
  const envelopes = await sealAll(
    ready.map(({ manifest }) => manifest),
    signingKey,
  );
  const uploads = ready.map(
    ({ manifest, packed }, n): Upload => ({
      host: manifest.host,
      envelope: envelopes[n] ?? "",
      archive: packed,
      keep: archivesOf(manifest),
    }),
  );
  const failures = await publisher.publish(uploads, ({ sent, total }) => {
    context.output.progress(`publishing ${uploads.length} hosts: ${Math.round((100 * sent) / Math.max(total, 1))} %`);
  });
  context.output.done();

  return {
    ...document,
    warnings,
    hosts: planned.map((step) =>
      "result" in step ? step.result : published(step.value.manifest, failures.get(step.host.name) ?? null),
    ),
  };
}

/** An archive, and the file that it is in. */
type Packed = Archive & { file: string };

interface Prepared {
  candidate: Candidate;
  packed: Packed;
}

/** Evaluates, stages and packs the hosts that can be deployed; the others get their result here. */
async function prepare(
  { repository, stager }: OpenFleet,
  evaluator: Evaluator | null,
  hosts: readonly Host[],
  commit: Commit,
  archives: string,
): Promise<Step<Prepared>[]> {
  const modified = new Set(await repository.modified());
  const deployable = hosts.filter((host) => host.declared && host.key !== null);
  const evaluated = evaluator === null ? [] : await evaluateFleet(evaluator, deployable);
  const systems = new Map(evaluated.map((result) => [result.host, result]));
  const staged = new Map((await stageAll(stager, deployable)).map((one) => [one.host, one]));
  const packs = new Map<string, Promise<Packed>>();
  return parallel(hosts, availableParallelism(), async (host): Promise<Step<Prepared>> => {
    const one = staged.get(host);
    if (one === undefined) {
      const reason = host.declared ? "it has no key in fleet.yaml yet" : "it has no entry in fleet.yaml";
      return { host, result: { ...nothing(host), status: "skipped", reason } };
    }
    if ("failure" in one) return { host, result: failed(host, one.failure) };
    const system = systems.get(host);
    if (system?.ok === false) return { host, result: failed(host, system.failure) };
    const { release } = one;
    if (host.deliver === "system") {
      // Its tree would show the host more than was meant.
      return {
        host,
        result: failed(host, {
          message: "deliver: system is not supported by this version, and its tree is not to leave the repository",
          hint: "deliver: tree, with include naming what the host may see",
        }),
      };
    }
    const changed = release.sources.find((file) => modified.has(file));
    if (changed !== undefined) {
      // What is published says which commit it is of, so it has to be of one.
      return {
        host,
        result: failed(host, {
          message: `${changed} has changes that are not committed`,
          hint: "commit them, or git stash",
        }),
      };
    }
    const pack = packs.get(release.dir) ?? archiveInto(archives, release.dir);
    packs.set(release.dir, pack);
    const packed = await pack;
    return {
      host,
      value: {
        packed,
        candidate: {
          host: host.name,
          commit: commit.id,
          subject: commit.subject.slice(0, 200),
          digest: packed.digest,
          archive: { name: packed.name, size: packed.size, sha256: packed.sha256 },
          kind: host.kind,
          attr: host.kind === "flake" ? host.attr : host.config,
          toplevel: system?.toplevel ?? null,
        },
      },
    };
  });
}

/** The hosts of earlier waves that have another release than this commit's, or are not well with it, each with why. */
async function blockingHosts(
  context: Context,
  planner: Planner,
  before: readonly Step<Prepared>[],
  { wait, force }: Pick<DeployOptions, "wait" | "force">,
): Promise<HostDeploy[]> {
  if (before.length === 0) return [];
  const current = await readCurrent(planner.publisher, before);
  const planned = await planAll(planner, before, current, { dryRun: true, force });
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
  const unwell = await notYetWell(context, planner.publisher, hosts, planner.signers, wait);
  return unwell.flatMap((status) => {
    const result = published.get(status.name);
    return result === undefined ? [] : [{ ...result, status: "failed", error: { message: gateReason(status) } }];
  });
}

interface Planned {
  manifest: Manifest;
  packed: Packed;
}

interface Planner {
  publisher: Publisher;
  ancestry: Ancestry;
  signers: readonly string[];
}

function readCurrent(publisher: Publisher, steps: readonly Step<Prepared>[]): Promise<Map<string, Current>> {
  return publisher.readCurrent(steps.flatMap((step) => ("result" in step ? [] : [step.host.name])));
}

/** What is to be done for each host, by what is published for it. */
async function planAll(
  { ancestry, signers }: Planner,
  steps: readonly Step<Prepared>[],
  current: ReadonlyMap<string, Current>,
  options: Pick<DeployOptions, "force" | "dryRun">,
): Promise<Step<Planned>[]> {
  const now = Date.now();
  return parallel(steps, availableParallelism(), (step) => plan(step, current, ancestry, signers, options, now));
}

async function plan(
  step: Step<Prepared>,
  current: ReadonlyMap<string, Current>,
  ancestry: Ancestry,
  signers: readonly string[],
  options: Pick<DeployOptions, "force" | "dryRun">,
  now: number,
): Promise<Step<Planned>> {
  if ("result" in step) return step;
  const { host, value } = step;
  const { candidate, packed } = value;
  const state = current.get(host.name);
  if (state === undefined || state.state === "failed") {
    return { host, result: failed(host, state?.error ?? { message: "what is published could not be read" }) };
  }
  const before = state.state === "missing" ? null : await openEnvelope(state.envelope, host.name, signers);
  if (before?.ok === false && !options.force) {
    return {
      host,
      result: failed(host, {
        message: `what is published now can't be trusted: ${before.problem}`,
        hint: "if the signers were changed on purpose, publish over it with --force",
      }),
    };
  }
  const published = before?.ok ? before.manifest : null;
  if (published !== null && !options.force) {
    if (isSameRelease(published, candidate)) return { host, result: unchanged(host, published) };
    const problem = await ancestry.problem(published.commit);
    if (problem !== null) return { host, result: failed(host, problem) };
    if (isFarFuture(published, now)) {
      return {
        host,
        result: failed(host, {
          message: `the published release is of ${published.issued}, far in the future`,
          hint: "check the clocks; --force publishes after it",
        }),
      };
    }
  }
  const manifest = nextManifest(candidate, published, now);
  // The first half of a deploy alone is the dry run: it says what the second would do.
  if (options.dryRun) return { host, result: publishedResult(manifest) };
  return { host, value: { manifest, packed } };
}

/** Whether published commits lie behind the one that is deployed; each is looked up once. */
class Ancestry {
  readonly #repository: Repository;
  readonly #head: string;
  readonly #known = new Map<string, Promise<boolean | undefined>>();

  constructor(repository: Repository, head: string) {
    this.#repository = repository;
    this.#head = head;
  }

  async problem(published: string): Promise<HostFailure | null> {
    const answer = this.#known.get(published) ?? this.#repository.isAncestor(published, this.#head);
    this.#known.set(published, answer);
    const isAncestor = await answer;
    if (isAncestor === true) return null;
    if (isAncestor === undefined) {
      return {
        message: `the published commit ${published.slice(0, 12)} is not in this clone, so it can't be told which one is newer`,
        hint: "fetch the whole history (on GitHub, fetch-depth: 0), or --force",
      };
    }
    return {
      message: `the published commit ${published.slice(0, 12)} is not an ancestor of ${this.#head.slice(0, 12)}`,
      hint: "merge it first; --force publishes all the same",
    };
  }
}

function nothing(host: Host): HostDeploy {
  return {
    name: host.name,
    status: "failed",
    digest: null,
    sequence: null,
    commit: null,
    toplevel: null,
    error: null,
    reason: null,
  };
}

function failed(host: Host, error: HostFailure): HostDeploy {
  return { ...nothing(host), error };
}

function unchanged(host: Host, { digest, sequence, commit, toplevel }: Manifest): HostDeploy {
  return { ...nothing(host), status: "unchanged", digest, sequence, commit, toplevel };
}

function publishedResult({ host, digest, sequence, commit, toplevel }: Manifest): HostDeploy {
  return { name: host, status: "published", digest, sequence, commit, toplevel, error: null, reason: null };
}

function published(manifest: Manifest, failure: HostFailure | null): HostDeploy {
  const result = publishedResult(manifest);
  return failure === null ? result : { ...result, status: "failed", sequence: null, error: failure };
}
