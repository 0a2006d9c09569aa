import { copyFile, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { DeployDocument, StatusDocument } from "../../src/results.ts";
import { BinaryCache } from "../support/binary-cache.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { GitServer } from "../support/git-server.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec, start, succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, CLI } from "./bento.ts";

// Each key is changed as docs/threat-model.md says, with agents that believe what their running configuration says, and nothing
// else. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;
let router: Machine;
let anna: Machine;
let publisher: string;
let signing: string;

const hosts = "router,laptop-anna";

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  router = await world.machine("router");
  anna = await world.machine("laptop-anna");
  publisher = world.publisherKey.file;
  signing = world.signingKey.file;
  // What services.bento.configFile does: the settings are a part of the system.
  await fleet.edit(
    "utils/common.nix",
    '  environment.etc."motd"',
    '  environment.etc."bento.json" = builtins.readFile ./bento.json;\n  environment.etc."motd"',
  );
  await fleet.commit("Settings that come with the system");
  await deploy();
  expect(await upgrade(router)).toBe("success");
  expect(await upgrade(anna)).toBe("success");
});

let gitKey: string | undefined;
const env = () => ({
  BENTO_SSH_KEY_FILE: publisher,
  BENTO_SIGNING_KEY_FILE: signing,
  BENTO_GIT_SSH_KEY_FILE: gitKey,
});
const options = () => ({ cwd: fleet.dir, env: env() });

/** What these tests change in fleet.yaml. */
interface Content {
  server: { publishers: string[]; hostKeys: string[] };
  signers: string[];
  administrators: string[];
  substituters: { url: string; key: string }[];
  git?: { remote: string; hostKeys: string[] };
  hosts: Record<string, { key: string }>;
}

/** Changes fleet.yaml, renders, and commits. */
async function change(subject: string, edit: (content: Content) => void): Promise<void> {
  const content: Content = parse(await fleet.read("fleet.yaml"));
  edit(content);
  await fleet.write("fleet.yaml", stringify(content, { lineWidth: 0 }));
  const rendered = await bento(["render"], options());
  expect(rendered.status, rendered.stderr).toBe(0);
  await fleet.commit(subject);
}

const setUpServer = () => world.server.provisionFrom(path.join(fleet.dir, "fleet.json"));

async function deploy(): Promise<DeployDocument> {
  const { status, stderr, stdout } = await bento(["deploy", "--hosts", hosts, "--json"], options());
  expect(status, stderr + stdout).toBe(0);
  return JSON.parse(stdout);
}

let edits = 0;

/** A commit that changes every host's system. */
async function edit(): Promise<void> {
  await fleet.edit("utils/common.nix", '"motd" = "', `"motd" = "${++edits} `);
  await fleet.commit(`Change ${edits}`);
}

/** One attempt; the outcome that it reports, or what the agent says where it has come to nothing. */
async function upgrade(machine: Machine, env: Record<string, string> = {}): Promise<unknown> {
  const before = await machine.state("last.json");
  const { stderr } = await machine.agent({ BENTO_BACKOFF: "0", ...env });
  const last = await machine.state("last.json");
  return last?.started !== before?.started ? last?.outcome : stderr.trim().split("\n").at(-1);
}

async function states(): Promise<Record<string, string>> {
  const { document } = await bentoJson<StatusDocument>(["status", "--hosts", hosts], options());
  return Object.fromEntries(document.hosts.map(({ name, state }) => [name, state]));
}

/** `bento bootstrap HOST | ssh root@HOST sh`: it brings its own settings. */
async function bootstrap(host: string, machine: Machine): Promise<void> {
  const { stdout: input } = await bento(["bootstrap", host], options());
  const { status, stderr } = await start("sh", [], { env: { ...machine.env, BENTO_CONFIG: undefined }, input }).done;
  expect(status, stderr).toBe(0);
}

/** `bento keygen`, in a directory of its own. */
async function keygen(name: string, ...args: string[]): Promise<string> {
  const dir = path.join(world.dir, `keys-${name}`);
  const { status, stderr } = await bento(["keygen", dir, ...args], options());
  expect(status, stderr).toBe(0);
  return dir;
}

const halfIn = async (file: string) => (await readFile(file, "utf8")).trim();

long("the publisher's: beside the old one, then instead of it; no machine has to know", async () => {
  const dir = await keygen("publisher");
  const stolen = publisher;
  const key = await halfIn(path.join(dir, "publisher.pub"));
  await change("A second publisher", ({ server }) => void server.publishers.push(key));
  await setUpServer();
  publisher = path.join(dir, "publisher");
  await edit();
  await deploy();
  expect(await upgrade(router)).toBe("success");

  await change("The old one out", ({ server }) => void server.publishers.shift());
  await setUpServer();
  await edit();
  publisher = stolen;
  const refused = await bento(["deploy", "--hosts", hosts], options());
  expect(refused).toMatchObject({ status: 3, stderr: expect.stringMatching(/refused|denied|authentication/i) });
  publisher = path.join(dir, "publisher");
  await deploy();
  expect(await upgrade(router)).toBe("success");
  expect(await upgrade(anna)).toBe("success");
  expect(await states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });
});

test("the signing key: in two releases; a machine that missed the first is bootstrapped", async () => {
  const dir = await keygen("signing");
  const old = signing;
  const key = await halfIn(path.join(dir, "signing.pub"));
  // A key that no machine knows can't be used by mistake.
  signing = path.join(dir, "signing");
  const early = await bento(["deploy", "--hosts", hosts], options());
  expect(early).toMatchObject({ status: 2, stderr: expect.stringContaining("signers") });
  signing = old;
  await change("A second signer", ({ signers }) => void signers.push(key));
  await deploy();
  expect(await upgrade(router)).toBe("success");
  expect(await states()).toMatchObject({ router: "up-to-date", "laptop-anna": "pending" });

  signing = path.join(dir, "signing");
  await edit();
  await deploy();
  expect(await upgrade(router)).toBe("success");
  await change("The old one out", ({ signers }) => void signers.shift());
  await deploy();
  expect(await upgrade(router)).toBe("success");
  signing = old;
  await edit();
  expect((await bento(["deploy", "--hosts", hosts], options())).status).toBe(2);
  // Not even from the server itself.
  const forged = await world.release("router", { files: { "configuration.nix": "{ }" } }, { evaluate: false });
  const current = path.join(world.server.chroot("router"), "releases/current");
  const aside = path.join(world.dir, "aside");
  await rename(current, aside);
  await world.server.plant("router", "current", forged.envelope);
  expect(await upgrade(router)).toBe("refused");
  await rename(aside, current);
  signing = path.join(dir, "signing");
  await deploy();
  expect(await upgrade(router)).toBe("success");

  expect(await upgrade(anna)).toBe("refused");
  expect((await anna.state("last.json"))?.reason).toMatch(/not signed by one of this fleet's signers/);
  await bootstrap("laptop-anna", anna);
  await edit();
  await deploy();
  expect(await upgrade(anna)).toBe("success");
  expect(await upgrade(router)).toBe("success");
  expect(await states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });
});

test("a machine's: its secrets are for the new one, and the old one opens no door", async () => {
  const administrator = await makeKey(path.join(world.dir, "administrator"));
  const declared = JSON.stringify({ token: { owner: "root", group: "root", mode: "0400", restartUnits: [] } });
  await fleet.edit(
    "hosts/router/configuration.nix",
    "  networking.hostName",
    `  environment.etc."bento-secrets.json" = ''${declared}'';\n  networking.hostName`,
  );
  await change("An administrator", (content) => {
    content.administrators = [administrator.publicKey];
  });
  const set = start("node", [CLI, "secret", "set", "router", "token"], { ...options(), input: "a value" });
  expect((await set.done).status).toBe(0);
  await fleet.commit("A secret");
  await deploy();
  expect(await upgrade(router)).toBe("success");
  const token = () => readFile(router.path("run/bento-secrets/token"), "utf8");
  expect(await token()).toBe("a value");

  // Beside the old one, on the machine.
  const fresh = await makeKey(`${router.key.file}.new`);
  const stolen = { ...router.key, file: `${router.key.file}.old` };
  await copyFile(router.key.file, stolen.file);
  await change("router has another key", (content) => {
    content.hosts.router = { ...content.hosts.router, key: fresh.publicKey };
  });
  await setUpServer();
  const rekey = await bento(["secret", "rekey", "router", "-i", administrator.file], options());
  expect(rekey.status, rekey.stderr).toBe(0);
  await fleet.commit("Its secrets for that");
  await deploy();
  // Until it has it in place it goes on with what it has, also over a restart.
  expect(await upgrade(router)).toMatch(/the server doesn't know this machine's key|refuse|denied/i);
  await rename(fresh.file, router.key.file);
  await rename(`${fresh.file}.pub`, `${router.key.file}.pub`);
  expect(await upgrade(router)).toBe("success");
  expect(await token()).toBe("a value");
  const contact = async (key: KeyPair) => (await router.agent({ BENTO_KEY: key.file }, ["contact"])).stdout.trim();
  expect(await contact(router.key)).toBe("known");
  expect(await contact(stolen)).toBe("unknown");
  expect(await states()).toMatchObject({ router: "up-to-date" });
});

test("an administrator's: who comes can read what is rekeyed, and who leaves can't any more", async () => {
  const leaver = path.join(world.dir, "administrator");
  const comer = await makeKey(path.join(world.dir, "another-administrator"));
  await change("Another administrator", (content) => {
    content.administrators = [comer.publicKey];
  });
  const listed = await bento(["secret", "list"], options());
  expect(listed.stdout + listed.stderr).toMatch(/token/);
  expect((await bento(["secret", "rekey", "-i", leaver], options())).status).toBe(0);
  await fleet.commit("Rekeyed");
  const open = (key: string) => exec("age", ["-d", "-i", key, path.join(fleet.dir, "secrets/router/token.age")]);
  expect(await open(comer.file)).toMatchObject({ status: 0, stdout: "a value" });
  expect((await open(leaver)).status).not.toBe(0);
  await deploy();
  expect(await upgrade(router)).toBe("success");
  expect(await readFile(router.path("run/bento-secrets/token"), "utf8")).toBe("a value");
});

long("the server's: pinned beside the old one, then instead of it, and only then the old one out", async () => {
  const fresh = await makeKey(path.join(world.dir, "new-host-key"));
  await change("A second host key", ({ server }) => void server.hostKeys.push(fresh.publicKey));
  await deploy();
  expect(await upgrade(router)).toBe("success");
  await world.server.replaceHostKey(fresh);
  await edit();
  await deploy();
  expect(await upgrade(router)).toBe("success");
  // One that missed it sends nothing to a server that it doesn't know.
  expect((await anna.agent({}, ["contact"])).stdout).toBe("wrong-host-key\n");
  await change("The old one out", ({ server }) => void server.hostKeys.shift());
  await deploy();
  expect(await upgrade(router)).toBe("success");
  await bootstrap("laptop-anna", anna);
  expect(await states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });
});

long(
  "git's: the deploy key at the remote and in the environment; the remote's own is pinned in two releases",
  async () => {
    const old = await makeKey(path.join(world.dir, "git-key"));
    const fresh = await makeKey(path.join(world.dir, "git-key-2"));
    // What it has by now; it has been changed above.
    const read = [(await readFile(`${router.key.file}.pub`, "utf8")).trim()];
    await using git = await GitServer.make(path.join(world.dir, "git"), { write: [old.publicKey], read });
    const { publicKey: pinned } = git.hostKey;
    await change("A git remote", (content) => {
      content.git = { remote: git.remote, hostKeys: [pinned] };
    });
    gitKey = old.file;
    await deploy();
    // From the server it learns of the remote; from then on its releases come from there.
    expect(await upgrade(router)).toBe("success");
    const byGit = { BENTO_FETCHER: "git", BENTO_REPORTER: "sftp" };
    const goesOut = async () => {
      await edit();
      await deploy();
      return upgrade(router, byGit);
    };
    expect(await goesOut()).toBe("success");

    await git.allow({ write: [old.publicKey, fresh.publicKey], read });
    gitKey = fresh.file;
    expect(await goesOut()).toBe("success");
    await git.allow({ write: [fresh.publicKey], read });
    gitKey = old.file;
    await edit();
    const before = await git.git("for-each-ref");
    const refused = await bento(["deploy", "--hosts", hosts], options());
    expect(refused).toMatchObject({ status: 3, stderr: expect.stringMatching(/denied|refused|permission/i) });
    expect(await git.git("for-each-ref")).toBe(before);
    gitKey = fresh.file;
    await deploy();
    expect(await upgrade(router, byGit)).toBe("success");

    const next = await makeKey(path.join(world.dir, "git-host-key-2"));
    await change("A second host key of the remote's", (content) => void content.git?.hostKeys.push(next.publicKey));
    await deploy();
    expect(await upgrade(router, byGit)).toBe("success");
    await git.replaceHostKey(next);
    expect(await goesOut()).toBe("success");
    await change("The old one out", (content) => void content.git?.hostKeys.shift());
    await deploy();
    expect(await upgrade(router, byGit)).toBe("success");
    // Who has the old one now is somebody in between.
    await git.replaceHostKey(await makeKey(path.join(world.dir, "git-host-key-3")));
    expect((await router.agent(byGit, ["contact"])).stdout).toBe("wrong-host-key\n");
    await git.replaceHostKey(next);
    expect((await router.agent(byGit, ["contact"])).stdout).toBe("known\n");
    expect(await upgrade(anna)).toBe("success");
    expect(await states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });

    await change("No git remote", (content) => {
      delete content.git;
    });
    gitKey = undefined;
    await deploy();
    expect(await upgrade(router)).toBe("success");
    expect(await upgrade(anna)).toBe("success");
  },
);

long("the cache's: a second entry with the same address, signed with the new key, and the old entry out", async () => {
  await using cache = await BinaryCache.start(path.join(world.dir, "cache"), "cache-1");
  const keys = await keygen("cache", "--cache", "cache-2");
  const newKey = await halfIn(path.join(keys, "cache.pub"));
  await change("A cache", (content) => {
    content.substituters = [cache.substituter];
  });
  const take = async (signed: "old" | "new"): Promise<unknown> => {
    await edit();
    await deploy();
    const roots = path.join(world.dir, "roots");
    const built = await bentoJson<{ hosts: { toplevel: string }[] }>(
      ["build", "--hosts", "router", "--roots", roots],
      options(),
    );
    const system = built.document.hosts[0]?.toplevel ?? "";
    await (signed === "old" ? cache.push(system) : cache.pushUnsigned(system));
    if (signed === "new") {
      const secret = path.join(keys, "cache");
      await succeed("nix", [
        "--extra-experimental-features",
        "nix-command",
        "store",
        "sign",
        "-r",
        "-k",
        secret,
        "--store",
        `file://${cache.dir}`,
        system,
      ]);
    }
    await rm(roots, { recursive: true });
    await succeed("nix-store", ["--gc"]);
    const config = `${process.env.NIX_CONFIG}\nnarinfo-cache-negative-ttl = 0\nnarinfo-cache-positive-ttl = 0`;
    const { stderr } = await router.agent({ BENTO_BUILD: "prebuilt", BENTO_BACKOFF: "0", NIX_CONFIG: config });
    return stderr.trim().split("\n").at(-1);
  };
  await deploy();
  expect(await upgrade(router)).toBe("success");
  expect(await take("old")).toBe("success");
  await change("Its new key", (content) => {
    content.substituters.push({ url: cache.url, key: newKey });
  });
  expect(await take("old")).toBe("success");
  expect(await take("new")).toBe("success");
  await change("The old one out", ({ substituters }) => void substituters.shift());
  expect(await take("new")).toBe("success");
  expect(await take("old")).toMatch(/^failed: /);
});
