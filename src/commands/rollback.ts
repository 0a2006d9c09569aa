import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import type { Host } from "../fleet/fleet.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import { Publishers } from "../publish/publishers.ts";
import { open as openEnvelope, requireSigner } from "../release/envelope.ts";
import { openPrivateKey } from "../release/keys.ts";
import type { Manifest } from "../release/manifest.ts";
import { isSameRelease, nextManifest } from "../release/plan.ts";
import { chooseEarlier, parseWanted } from "../release/rollback.ts";
import type { DeployDocument } from "../results.ts";
import type { Context } from "./context.ts";
import { openAll, published, unchanged } from "./deploy/planning.ts";
import { failed, failing, prepare, type Step, type WithArchive, withArchive } from "./deploy/prepare.ts";
import { lockFor, signAndPublish } from "./deploy/publishing.ts";
import { openMemory, withFlakeHosts } from "./evaluation.ts";
import { describeKey, keysFromEnvironment, SIGNING_KEY } from "./keys.ts";
import { oneHost } from "./one-host.ts";
import { loadRenderedFleet, type OpenFleet, openFleet, openFleetAt } from "./open-fleet.ts";
import { waysOut } from "./ways-out.ts";

export interface RollbackOptions {
  fleet: string;
  /** The host's name. */
  host: string;
  /** A sequence, or a commit; null for the release before the current one. */
  to: string | null;
  /** Say what would be published, and do nothing. */
  dryRun: boolean;
  nix: NixPassthrough;
  /** Milliseconds for an evaluation. */
  timeout: number;
  /** Milliseconds to wait for a deploy that holds the lock. */
  wait: number;
}

/**
 * Publishes what a host had before as a new release: hosts take nothing whose sequence isn't higher. Its content comes from the
 * repository, at the commit that it was of, or, where that commit isn't in this clone, from the archive that is still on the
 * server; nothing is evaluated then, since the system was known. A commit that was never published for the host is evaluated.
 * @throws FleetError, UnavailableError.
 */
export async function rollback(context: Context, options: RollbackOptions): Promise<DeployDocument> {
  // 1. The host, and the keys.
  await using opened = await openFleet(await loadRenderedFleet(options.fleet), { dirty: false });
  const { signers } = opened.fleet;
  const host = oneHost(opened.fleet.hosts, options.host);
  await using ways = await waysOut(context, opened.fleet);
  const [signingSource] = keysFromEnvironment(context.env, SIGNING_KEY);
  await using signingKey = await openPrivateKey(signingSource, describeKey(SIGNING_KEY));
  requireSigner(signingKey, signers);

  // 2. What it has, and what it had.
  await using publishers = await Publishers.open(ways.list);
  const current = await publishers.read([host.name], options.dryRun ? null : lockFor(context, options));
  const document = { version: 1, command: "rollback", dryRun: options.dryRun, warnings: [] } as const;
  const states = [...(await openAll(current(host.name), host.name, signers)).values()];
  const unknown = states.find((state) => state.state === "unknown");
  if (unknown !== undefined) return { ...document, warnings: [], hosts: [failed(host, unknown.error)] };
  const present = states.flatMap((state) => (state.state === "present" ? [state.manifest] : []));
  const [newest] = present.sort((a, b) => b.sequence - a.sequence);
  if (newest === undefined) {
    throw new FleetError(
      `nothing that can be trusted is published for ${host.name}: there is nothing to go back from`,
      {
        hint: "bento deploy publishes what the repository has",
      },
    );
  }
  const earlier = await manifestsOf(await publishers.readHistory(host.name), host, signers);

  // 3. What it shall have.
  await using work = await temporaryDirectory();
  const wanted = parseWanted(options.to);
  const chosen = chooseEarlier(newest, [newest, ...earlier], await resolved(opened, wanted));
  const step =
    chosen === undefined
      ? await neverPublished(context, opened, host, wanted, options, work.path)
      : await again(opened, publishers, host, chosen, work.path);
  if ("result" in step) return { ...document, warnings: [], hosts: [step.result] };

  if (isSameRelease(newest, step.value.candidate)) {
    return { ...document, warnings: [], hosts: [unchanged(host, newest)] };
  }

  // 4. The same content, as the newest release.
  const manifest = nextManifest(step.value.candidate, newest, Date.now());
  const warnings = [`the next deploy gives ${host.name} what the repository has then: revert it there as well`];
  if (options.dryRun) return { ...document, warnings, hosts: [published(manifest, null)] };
  const value = { manifest, envelope: null, packed: step.value.packed, to: publishers.names, unread: null };
  const due = { host, value: { make: async () => ({ host, value }) } };
  return { ...document, warnings, hosts: await signAndPublish(context, publishers, signingKey, [due]) };
}

/** Those of foreign envelopes that are really this host's. */
async function manifestsOf(envelopes: readonly string[], host: Host, signers: readonly string[]): Promise<Manifest[]> {
  const opened = await Promise.all(envelopes.map((envelope) => openEnvelope(envelope, host.name, signers)));
  return opened.flatMap((one) => (one.ok ? [one.manifest] : []));
}

type Wanted = ReturnType<typeof parseWanted>;

/** A ref's commit by its whole name, as manifests have it, where this clone knows it. */
async function resolved({ repository }: OpenFleet, wanted: Wanted): Promise<Wanted> {
  if (wanted === null || "sequence" in wanted) return wanted;
  return { commit: await repository.commitOf(wanted.commit).catch(() => wanted.commit) };
}

/** An earlier release, with its content found again. */
async function again(
  opened: OpenFleet,
  publishers: Publishers,
  host: Host,
  manifest: Manifest,
  work: string,
): Promise<Step<WithArchive>> {
  const { sequence: _, issued: __, history: ___, version: ____, ...candidate } = manifest;
  const staged = await stagedAgain(opened, host, manifest, work);
  if (staged !== undefined) {
    return { host, value: { packed: staged.packed, candidate: { ...candidate, archive: staged.candidate.archive } } };
  }
  const { archive, digest } = manifest;
  if (archive === null) return { host, value: { packed: null, candidate } };
  const file = path.join(work, "archive");
  if (await publishers.fetchArchive(host.name, archive, file)) {
    if ((await sha256Of(file)) !== archive.sha256) {
      return {
        host,
        result: failed(host, { message: `the archive of release ${manifest.sequence} is damaged on the server` }),
      };
    }
    return { host, value: { packed: { ...archive, digest, file }, candidate } };
  }
  const message = `release ${manifest.sequence} can't be had any more: commit ${manifest.commit.slice(0, 12)} is not in this clone, or makes something else now, and its archive is gone from the server`;
  return { host, result: failed(host, { message, hint: "fetch the whole history (git fetch --unshallow)" }) };
}

/** The release as it is made of the commit that it was of; undefined when the commit isn't here or makes another. */
async function stagedAgain(
  opened: OpenFleet,
  host: Host,
  { commit, digest }: Manifest,
  work: string,
): Promise<WithArchive | undefined> {
  try {
    await using then = await openFleetAt(opened, await opened.repository.commitOf(commit));
    const [step] = await prepare(
      then,
      null,
      then.fleet.hosts.filter(({ name }) => name === host.name),
      { id: commit, subject: "" },
      work,
    );
    if (step === undefined || "result" in step) return undefined;
    return step.value.candidate.digest === digest ? await withArchive(step.value) : undefined;
  } catch (error) {
    if (error instanceof FleetError || error instanceof HostError) return undefined;
    throw error;
  }
}

/** What the repository has for the host at a commit that was never published for it, evaluated as for a deploy. */
async function neverPublished(
  context: Context,
  opened: OpenFleet,
  host: Host,
  wanted: Wanted,
  options: RollbackOptions,
  work: string,
): Promise<Step<WithArchive>> {
  if (wanted === null) {
    throw new FleetError(`no release of ${host.name} before this one is known`, {
      hint: "--to COMMIT publishes what the repository had for it then",
    });
  }
  if ("sequence" in wanted) {
    throw new FleetError(`no release ${wanted.sequence} of ${host.name} is known any more`, {
      hint: "--to COMMIT publishes what the repository had for it then",
    });
  }
  const id = await opened.repository.commitOf(wanted.commit);
  await using then = await openFleetAt(opened, id);
  const nix = await Nix.find(options.nix, context.signal);
  const { stager } = then;
  const evaluator = { context, nix, stager, memory: openMemory(context.env), derivations: false, limits: options };
  const { hosts } = await withFlakeHosts(then.fleet, evaluator);
  const [step] = await prepare(
    then,
    evaluator,
    hosts.filter(({ name }) => name === host.name),
    await then.repository.head(),
    work,
  );
  if (step === undefined) throw new FleetError(`there was no host ${host.name} at commit ${id.slice(0, 12)}`);
  if ("result" in step) return step;
  // Here and now, while that commit is checked out.
  const made = await withArchive(step.value).catch(failing);
  return "failure" in made ? { host, result: failed(host, made.failure) } : { host, value: made };
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer);
  return hash.digest("hex");
}
