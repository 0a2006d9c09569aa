import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Cache, GitRemote, Server, Substituter } from "../../src/fleet/fleet.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import type { HostReports } from "../../src/publish/publisher.ts";
import { type SftpOptions, SftpPublisher } from "../../src/publish/sftp.ts";
import { openPrivateKey } from "../../src/release/keys.ts";
import type { Manifest } from "../../src/release/manifest.ts";
import { archivesOf } from "../../src/release/plan.ts";
import { DEMO_HOSTS, FleetRepository } from "./fleet.ts";
import { type KeyPair, makeKey } from "./keys.ts";
import { Machine } from "./machine.ts";
import { type Content, makeRelease, type Release, type ReleaseOptions } from "./release.ts";
import { type ServerLogins, TestServer } from "./server.ts";
import { makeStore, type PrivateStore } from "./store.ts";
import { loginPrefix, worldDirectory } from "./world-directory.ts";

export interface WorldOptions {
  /** The demo's four unless told otherwise. At most 20 characters each. */
  hosts?: readonly string[];
  /** server.tree; false unless told otherwise. */
  tree?: boolean;
  /** The address that the server listens on; loopback unless told otherwise. */
  listen?: string;
}

/**
 * A fleet with everything it needs: a server, keys, machines, a Nix store. All of it is real, and lies below one directory but
 * for the logins that sshd needs; `await using world = await World.make()` takes it all away again.
 *
 * What its programs need is in process.env too, for the code under test: so a process has one world at a time. Several
 * processes may have one each.
 */
export class World implements AsyncDisposable {
  readonly dir: string;
  readonly hosts: readonly string[];
  readonly store: PrivateStore;
  readonly server: TestServer;
  readonly publisherKey: KeyPair;
  readonly signingKey: KeyPair;
  /** By host. */
  readonly hostKeys: Readonly<Record<string, KeyPair>>;
  /** Put before each host's name to make its login. */
  readonly loginPrefix: string;
  /** As fleet.yaml has it. */
  readonly serverSettings: Server;
  readonly #env: Record<string, string>;
  readonly #machines = new Map<string, Promise<Machine>>();
  readonly #published = new Map<string, Manifest>();
  readonly #resources: AsyncDisposableStack;

  private constructor(
    parts: Pick<
      World,
      | "dir"
      | "hosts"
      | "store"
      | "server"
      | "publisherKey"
      | "signingKey"
      | "hostKeys"
      | "loginPrefix"
      | "serverSettings"
    >,
    env: Record<string, string>,
    resources: AsyncDisposableStack,
  ) {
    this.dir = parts.dir;
    this.hosts = parts.hosts;
    this.store = parts.store;
    this.server = parts.server;
    this.publisherKey = parts.publisherKey;
    this.signingKey = parts.signingKey;
    this.hostKeys = parts.hostKeys;
    this.loginPrefix = parts.loginPrefix;
    this.serverSettings = parts.serverSettings;
    this.#env = env;
    this.#resources = resources;
  }

  static async make({ hosts = DEMO_HOSTS, tree = false, listen }: WorldOptions = {}): Promise<World> {
    await using resources = new AsyncDisposableStack();
    const { path: dir, mark } = resources.use(await worldDirectory());
    const store = await makeStore(dir);
    const env = { ...store.env, ...mark };
    resources.defer(setEnvironment(env));

    const keys = path.join(dir, "keys");
    await mkdir(keys, { mode: 0o700 });
    const names = ["publisher", "signing", ...hosts.map((host) => `host-${host}`)];
    const [publisherKey, signingKey, ...others] = await Promise.all(
      names.map((name) => makeKey(path.join(keys, name))),
    );
    if (!publisherKey || !signingKey) throw new Error("no keys");
    const hostKeys: Record<string, KeyPair> = {};
    for (const [index, host] of hosts.entries()) hostKeys[host] = others[index] as KeyPair;

    const prefix = loginPrefix();
    const user = `${prefix}publisher`;
    const server = resources.use(new TestServer(dir, env, listen));
    const publishers = [publisherKey.publicKey];
    await server.provision({
      user,
      publishers,
      tree,
      hosts: Object.fromEntries(
        hosts.map((host) => [host, { login: prefix + host, key: hostKeys[host]?.publicKey ?? "" }]),
      ),
    });
    await server.start();
    const { address, port, root } = server;
    const hostKey = await server.hostKey();
    const serverSettings = { address, port, user, root, publishers, hostKeys: [hostKey], loginPrefix: prefix, tree };
    return new World(
      { dir, hosts, store, server, publisherKey, signingKey, hostKeys, loginPrefix: prefix, serverSettings },
      env,
      resources.move(),
    );
  }

  /** What its server is set up for. */
  get logins(): ServerLogins {
    const { user, publishers, tree } = this.serverSettings;
    const hosts = this.hosts.map((host) => {
      return [host, { login: this.loginPrefix + host, key: this.hostKeys[host]?.publicKey ?? "" }] as const;
    });
    return { user, publishers, tree, hosts: Object.fromEntries(hosts) };
  }

  /** A machine of the fleet, which is made when it is first asked for. */
  machine(host: string): Promise<Machine> {
    const known = this.#machines.get(host);
    if (known) return known;
    const key = this.hostKeys[host];
    if (!key) throw new Error(`the world has no host ${host}`);
    const dir = path.join(this.dir, "machines", host);
    const machine = Machine.make(host, dir, key, this.store, this.agentSettings(), this.#env);
    this.#machines.set(host, machine);
    return machine;
  }

  /** The text of utils/bento.json, which every machine has. */
  agentSettings(
    changes: {
      server?: Partial<Server> | null;
      git?: GitRemote;
      signers?: readonly string[];
      substituters?: readonly Substituter[];
      cache?: Cache;
    } = {},
  ): string {
    const text = renderedFiles({
      dir: this.dir,
      file: "fleet.yaml",
      server: changes.server === null ? null : { ...this.serverSettings, ...changes.server },
      git: changes.git ?? null,
      signers: [...(changes.signers ?? [this.signingKey.publicKey])],
      administrators: [],
      substituters: [...(changes.substituters ?? [])],
      cache: changes.cache ?? null,
      waves: null,
      hosts: [],
      warnings: [],
    }).get("utils/bento.json");
    if (text === undefined) throw new Error("utils/bento.json is not rendered any more");
    return text;
  }

  /** Makes scripts/demo-fleet's repository, for a world with the demo's hosts. */
  async makeFleet(): Promise<FleetRepository> {
    const keys = Object.fromEntries(Object.entries(this.hostKeys).map(([host, key]) => [host, key.publicKey]));
    const signers = [this.signingKey.publicKey];
    return FleetRepository.make(path.join(this.dir, "fleet"), this.store, {
      server: this.serverSettings,
      signers,
      keys,
    });
  }

  /** The publisher's connection. */
  async connect(
    key = this.publisherKey,
    server: Partial<Server> = {},
    options: Partial<SftpOptions> = {},
  ): Promise<SftpPublisher> {
    await using opened = await openPrivateKey({ file: key.file }, "the publisher's key");
    const settings = { ...this.serverSettings, ...server };
    return await SftpPublisher.connect(settings, opened, { signal: new AbortController().signal, ...options });
  }

  /** Makes a host's next release. */
  async release(host: string, content: Content, options: ReleaseOptions = {}): Promise<Release> {
    const published = this.#published.get(host) ?? null;
    return makeRelease(host, content, this.signingKey, this.dir, { published, ...options });
  }

  /** Puts a release up for a host, with the sftp publisher. */
  async put(host: string, { manifest, envelope, archive }: Release): Promise<void> {
    await using publisher = await this.connect();
    await publisher.lock("a test");
    const { name, size, bytes } = archive;
    const file = path.join(this.dir, name);
    await writeFile(file, bytes);
    const upload = { host, envelope, archive: { name, size, file }, keep: archivesOf(manifest) };
    const failure = (await publisher.publish([upload])).get(host);
    if (failure !== null) throw new Error(`${host} was not published: ${failure?.message}`);
    this.#published.set(host, manifest);
  }

  /** Makes a host's next release and puts it up. */
  async publish(host: string, content: Content, options: ReleaseOptions = {}): Promise<Release> {
    const release = await this.release(host, content, options);
    await this.put(host, release);
    return release;
  }

  /** What a host has said, as the publisher reads it. */
  async said(host: string): Promise<HostReports> {
    await using publisher = await this.connect();
    const said = (await publisher.readReports([host])).get(host);
    if (said === undefined) throw new Error(`no answer for ${host}`);
    return said;
  }

  /** The newest report a host has delivered, as the publisher reads it. */
  async report(host: string): Promise<Record<string, unknown>> {
    const said = await this.said(host);
    if (said.state !== "read" || said.report === null)
      throw new Error(`${host} has no report: ${JSON.stringify(said)}`);
    return JSON.parse(said.report.text);
  }

  /** The heartbeat a host has delivered, as the publisher reads it. */
  async heartbeat(host: string): Promise<Record<string, unknown>> {
    const said = await this.said(host);
    if (said.state !== "read" || said.heartbeat === null) throw new Error(`${host} has no heartbeat`);
    return JSON.parse(said.heartbeat.text);
  }

  /** Every report of a host's that is on the server, by its file's name, oldest first. */
  async reports(host: string): Promise<Map<string, Record<string, unknown>>> {
    const dir = path.join(this.server.chroot(host), "reports");
    const names = (await readdir(dir)).filter((name) => /^\d+-\d+\.json$/.test(name)).sort();
    const read = async (name: string) => JSON.parse(await readFile(path.join(dir, name), "utf8"));
    return new Map(await Promise.all(names.map(async (name) => [name, await read(name)] as const)));
  }

  /** The outcomes of them. */
  async outcomes(host: string): Promise<unknown[]> {
    return [...(await this.reports(host)).values()].map(({ outcome }) => outcome);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** Puts variables into process.env, and gives a function that puts back what was there. */
function setEnvironment(env: Readonly<Record<string, string>>): () => void {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
}
