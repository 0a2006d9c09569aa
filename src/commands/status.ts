import { availableParallelism } from "node:os";
import { BentoError, FleetError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { collectEarly, stayFrugal } from "../platform/frugal.ts";
import { Repository } from "../platform/git.ts";
import { parallel } from "../platform/parallel.ts";
import type { AttemptsAsked, StatusSource } from "../publish/publisher.ts";
import { Publishers } from "../publish/publishers.ts";
import { SftpPublisher } from "../publish/sftp.ts";
import { openPrivateKey } from "../release/keys.ts";
import { hostStatus } from "../reports/host-status.ts";
import { FLEET_STATES, type FleetState, type HostStatus, needsAttention, type StatusDocument } from "../results.ts";
import type { Context } from "./context.ts";
import { describeKey, keysFromEnvironment, PUBLISHER_KEY } from "./keys.ts";
import { waysOut } from "./ways-out.ts";

export interface StatusOptions {
  fleet: string;
  hosts: readonly string[];
  /** The states that make the exit status 1; null for all in which somebody has to look at a host. */
  failOn: readonly FleetState[] | null;
  /** What to tell of each host's last attempts; null for nothing. */
  attempts: AttemptsAsked | null;
}

/** Of each host on a page. */
export const EACH: AttemptsAsked = { count: 10, log: 20_000 };

/** Milliseconds without an answer. A host that makes the server wait shall not make everybody else wait long. */
const SILENCE = 15_000;

/**
 * Says how each host is, from what is published for it and what it reported. Needs no Nix, and changes nothing.
 * @throws FleetError, UnavailableError; what can't be read of a single host makes its state `unknown`.
 */
export async function status(context: Context, options: StatusOptions): Promise<StatusDocument> {
  await using fleet = await FleetStatus.open(context, options);
  return await fleet.read();
}

/** The fleet, looked at once or again and again over one connection. */
export class FleetStatus implements AsyncDisposable {
  readonly #fleet: Fleet;
  readonly #hosts: readonly Host[];
  readonly #source: StatusSource;
  readonly #options: StatusOptions;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    fleet: Fleet,
    hosts: readonly Host[],
    source: StatusSource,
    options: StatusOptions,
    resources: AsyncDisposableStack,
  ) {
    this.#fleet = fleet;
    this.#hosts = hosts;
    this.#source = source;
    this.#options = options;
    this.#resources = resources;
  }

  /** @throws FleetError, UnavailableError */
  static async open(context: Context, options: StatusOptions): Promise<FleetStatus> {
    const fleet = await loadFleet(options.fleet);
    const { server } = fleet;
    if (server === null && fleet.git === null)
      throw new FleetError("fleet.yaml has no server to ask for reports", { hint: "see 'server' in the README" });
    const hosts = selectHosts(
      fleet.hosts.filter((host) => host.declared),
      options.hosts,
    );
    stayFrugal();
    collectEarly();
    await using resources = new AsyncDisposableStack();
    const source = server === null ? await gitSource(context, fleet, resources) : await sftpSource(server);
    return new FleetStatus(fleet, hosts, source, options, resources.move());

    async function sftpSource(at: NonNullable<Fleet["server"]>): Promise<StatusSource> {
      const [secret] = keysFromEnvironment(context.env, PUBLISHER_KEY);
      const key = resources.use(await openPrivateKey(secret, describeKey(PUBLISHER_KEY)));
      return resources.use(
        await SftpPublisher.connect(at, key, { signal: context.signal, say: context.output.info, silence: SILENCE }),
      );
    }
  }

  async read(): Promise<StatusDocument> {
    const { failOn, attempts } = this.#options;
    const { signers, waves } = this.#fleet;
    const hosts = await statusesOf(this.#source, this.#hosts, signers, { waves, attempts });
    if (attempts !== null) await addSubjects(hosts, this.#fleet.dir);
    return {
      version: 1,
      command: "status",
      time: new Date().toISOString(),
      failOn: [...(failOn ?? FLEET_STATES.filter(needsAttention))],
      hosts,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** A fleet on git alone: hosts read there, and have nowhere to write to. */
async function gitSource(context: Context, fleet: Fleet, resources: AsyncDisposableStack): Promise<StatusSource> {
  const ways = resources.use(await waysOut(context, fleet));
  return resources.use(await Publishers.open(ways.list)).statusSource;
}

interface Asked {
  waves: Fleet["waves"];
  attempts: AttemptsAsked | null;
}

/** How hosts are, in their order. */
export async function statusesOf(
  source: StatusSource,
  hosts: readonly Host[],
  signers: readonly string[],
  { waves, attempts: asked }: Asked = { waves: null, attempts: null },
): Promise<HostStatus[]> {
  const names = hosts.filter((host) => host.key !== null).map((host) => host.name);
  const [current, reports, attempts] = await Promise.all([
    source.readCurrent(names),
    source.readReports(names),
    asked && source.readAttempts(names, asked),
  ]);
  return parallel(hosts, availableParallelism(), (host) => {
    const { name } = host;
    const wave = waves?.findIndex((members) => members.includes(name)) ?? -1;
    const readings = {
      current: current.get(name),
      reports: reports.get(name),
      attempts: attempts?.get(name) ?? null,
    };
    return hostStatus(host, wave < 0 ? null : wave + 1, readings, signers);
  });
}

/** Enters what the commits of attempts say, as far as this clone knows them. */
async function addSubjects(hosts: readonly HostStatus[], dir: string): Promise<void> {
  const attempts = hosts.flatMap(({ attempted, history }) => [...(attempted ? [attempted] : []), ...(history ?? [])]);
  const known = new Map(hosts.flatMap(({ published }) => (published ? [[published.commit, published.subject]] : [])));
  const unknown = new Set(attempts.flatMap(({ commit }) => (commit === null || known.has(commit) ? [] : [commit])));
  if (unknown.size > 0) {
    try {
      for (const [commit, subject] of await (await Repository.open(dir)).subjects([...unknown])) {
        known.set(commit, subject);
      }
    } catch (error) {
      // Without a repository there is nothing to look it up in.
      if (!(error instanceof BentoError)) throw error;
    }
  }
  for (const attempt of attempts) attempt.subject = (attempt.commit && known.get(attempt.commit)) || null;
}
