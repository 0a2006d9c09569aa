import { copyFile, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
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
import { publicHalf, RotatingFleet } from "./rotating-fleet.ts";

// Each key is changed as docs/threat-model.md says. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;
let router: Machine;
let anna: Machine;
let rotating: RotatingFleet;

withFleet({}, async (made) => {
  rotating = await RotatingFleet.make(made.world, made.fleet);
  ({ world, fleet, router, anna } = rotating);
});

long("the publisher's: beside the old one, then instead of it; no machine has to know", async () => {
  const dir = await rotating.keygen("publisher");
  const stolen = rotating.keys.publisher;
  const key = await publicHalf(path.join(dir, "publisher.pub"));
  await rotating.change("A second publisher", ({ server }) => void server.publishers.push(key));
  await rotating.setUpServer();
  rotating.keys.publisher = path.join(dir, "publisher");
  await rotating.edit();
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");

  await rotating.change("The old one out", ({ server }) => void server.publishers.shift());
  await rotating.setUpServer();
  await rotating.edit();
  rotating.keys.publisher = stolen;
  const refused = await rotating.tryDeploy();
  expect(refused).toMatchObject({ status: 3, stderr: expect.stringMatching(/refused|denied|authentication/i) });
  rotating.keys.publisher = path.join(dir, "publisher");
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  expect(await rotating.upgrade(anna)).toBe("success");
  expect(await rotating.states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });
});

test("the signing key: in two releases; a machine that missed the first is bootstrapped", async () => {
  const dir = await rotating.keygen("signing");
  const old = rotating.keys.signing;
  const key = await publicHalf(path.join(dir, "signing.pub"));
  // A key that no machine knows can't be used by mistake.
  rotating.keys.signing = path.join(dir, "signing");
  const early = await rotating.tryDeploy();
  expect(early).toMatchObject({ status: 2, stderr: expect.stringContaining("signers") });
  rotating.keys.signing = old;
  await rotating.change("A second signer", ({ signers }) => void signers.push(key));
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  expect(await rotating.states()).toMatchObject({ router: "up-to-date", "laptop-anna": "pending" });

  rotating.keys.signing = path.join(dir, "signing");
  await rotating.edit();
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  await rotating.change("The old one out", ({ signers }) => void signers.shift());
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  rotating.keys.signing = old;
  await rotating.edit();
  expect((await rotating.tryDeploy()).status).toBe(2);
  // Not even from the server itself.
  const forged = await world.release("router", { files: { "configuration.nix": "{ }" } }, { evaluate: false });
  const current = path.join(world.server.chroot("router"), "releases/current");
  const aside = path.join(world.dir, "aside");
  await rename(current, aside);
  await world.server.plant("router", "current", forged.envelope);
  expect(await rotating.upgrade(router)).toBe("refused");
  await rename(aside, current);
  rotating.keys.signing = path.join(dir, "signing");
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");

  expect(await rotating.upgrade(anna)).toBe("refused");
  expect((await anna.state("last.json"))?.reason).toMatch(/not signed by one of this fleet's signers/);
  await rotating.bootstrap("laptop-anna", anna);
  await rotating.edit();
  await rotating.deploy();
  expect(await rotating.upgrade(anna)).toBe("success");
  expect(await rotating.upgrade(router)).toBe("success");
  expect(await rotating.states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });
});

test("a machine's: its secrets are for the new one, and the old one opens no door", async () => {
  const administrator = await makeKey(path.join(world.dir, "administrator"));
  const declared = JSON.stringify({ token: { owner: "root", group: "root", mode: "0400", restartUnits: [] } });
  await fleet.edit(
    "hosts/router/configuration.nix",
    "  networking.hostName",
    `  environment.etc."bento-secrets.json" = ''${declared}'';\n  networking.hostName`,
  );
  await rotating.change("An administrator", (content) => {
    content.administrators = [administrator.publicKey];
  });
  const set = start("node", [CLI, "secret", "set", "router", "token"], { ...rotating.options, input: "a value" });
  expect((await set.done).status).toBe(0);
  await fleet.commit("A secret");
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  const token = () => readFile(router.path("run/bento-secrets/token"), "utf8");
  expect(await token()).toBe("a value");

  // Beside the old one, on the machine.
  const fresh = await makeKey(`${router.key.file}.new`);
  const stolen = { ...router.key, file: `${router.key.file}.old` };
  await copyFile(router.key.file, stolen.file);
  await rotating.change("router has another key", (content) => {
    content.hosts.router = { ...content.hosts.router, key: fresh.publicKey };
  });
  await rotating.setUpServer();
  const rekey = await bento(["secret", "rekey", "router", "-i", administrator.file], rotating.options);
  expect(rekey.status, rekey.stderr).toBe(0);
  await fleet.commit("Its secrets for that");
  await rotating.deploy();
  // Until it has it in place it goes on with what it has, also over a restart.
  expect(await rotating.upgrade(router)).toMatch(/the server doesn't know this machine's key|refuse|denied/i);
  await rename(fresh.file, router.key.file);
  await rename(`${fresh.file}.pub`, `${router.key.file}.pub`);
  expect(await rotating.upgrade(router)).toBe("success");
  expect(await token()).toBe("a value");
  const contact = async (key: KeyPair) => (await router.agent({ BENTO_KEY: key.file }, ["contact"])).stdout.trim();
  expect(await contact(router.key)).toBe("known");
  expect(await contact(stolen)).toBe("unknown");
  expect(await rotating.states()).toMatchObject({ router: "up-to-date" });
});

test("an administrator's: who comes can read what is rekeyed, and who leaves can't any more", async () => {
  const leaver = path.join(world.dir, "administrator");
  const comer = await makeKey(path.join(world.dir, "another-administrator"));
  await rotating.change("Another administrator", (content) => {
    content.administrators = [comer.publicKey];
  });
  const listed = await bento(["secret", "list"], rotating.options);
  expect(listed.stdout + listed.stderr).toMatch(/token/);
  expect((await bento(["secret", "rekey", "-i", leaver], rotating.options)).status).toBe(0);
  await fleet.commit("Rekeyed");
  const open = (key: string) => exec("age", ["-d", "-i", key, path.join(fleet.dir, "secrets/router/token.age")]);
  expect(await open(comer.file)).toMatchObject({ status: 0, stdout: "a value" });
  expect((await open(leaver)).status).not.toBe(0);
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  expect(await readFile(router.path("run/bento-secrets/token"), "utf8")).toBe("a value");
});

long("the server's: pinned beside the old one, then instead of it, and only then the old one out", async () => {
  const fresh = await makeKey(path.join(world.dir, "new-host-key"));
  await rotating.change("A second host key", ({ server }) => void server.hostKeys.push(fresh.publicKey));
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  await world.server.replaceHostKey(fresh);
  await rotating.edit();
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  // One that missed it sends nothing to a server that it doesn't know.
  expect((await anna.agent({}, ["contact"])).stdout).toBe("wrong-host-key\n");
  await rotating.change("The old one out", ({ server }) => void server.hostKeys.shift());
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  await rotating.bootstrap("laptop-anna", anna);
  expect(await rotating.states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });
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
    await rotating.change("A git remote", (content) => {
      content.git = { remote: git.remote, hostKeys: [pinned] };
    });
    rotating.keys.git = old.file;
    await rotating.deploy();
    // From the server it learns of the remote; from then on its releases come from there.
    expect(await rotating.upgrade(router)).toBe("success");
    const byGit = { BENTO_FETCHER: "git", BENTO_REPORTER: "sftp" };
    const goesOut = async () => {
      await rotating.edit();
      await rotating.deploy();
      return rotating.upgrade(router, byGit);
    };
    expect(await goesOut()).toBe("success");

    await git.allow({ write: [old.publicKey, fresh.publicKey], read });
    rotating.keys.git = fresh.file;
    expect(await goesOut()).toBe("success");
    await git.allow({ write: [fresh.publicKey], read });
    rotating.keys.git = old.file;
    await rotating.edit();
    const before = await git.git("for-each-ref");
    const refused = await rotating.tryDeploy();
    expect(refused).toMatchObject({ status: 3, stderr: expect.stringMatching(/denied|refused|permission/i) });
    expect(await git.git("for-each-ref")).toBe(before);
    rotating.keys.git = fresh.file;
    await rotating.deploy();
    expect(await rotating.upgrade(router, byGit)).toBe("success");

    const next = await makeKey(path.join(world.dir, "git-host-key-2"));
    await rotating.change(
      "A second host key of the remote's",
      (content) => void content.git?.hostKeys.push(next.publicKey),
    );
    await rotating.deploy();
    expect(await rotating.upgrade(router, byGit)).toBe("success");
    await git.replaceHostKey(next);
    expect(await goesOut()).toBe("success");
    await rotating.change("The old one out", (content) => void content.git?.hostKeys.shift());
    await rotating.deploy();
    expect(await rotating.upgrade(router, byGit)).toBe("success");
    // Who has the old one now is somebody in between.
    await git.replaceHostKey(await makeKey(path.join(world.dir, "git-host-key-3")));
    expect((await router.agent(byGit, ["contact"])).stdout).toBe("wrong-host-key\n");
    await git.replaceHostKey(next);
    expect((await router.agent(byGit, ["contact"])).stdout).toBe("known\n");
    expect(await rotating.upgrade(anna)).toBe("success");
    expect(await rotating.states()).toEqual({ router: "up-to-date", "laptop-anna": "up-to-date" });

    await rotating.change("No git remote", (content) => {
      delete content.git;
    });
    rotating.keys.git = undefined;
    await rotating.deploy();
    expect(await rotating.upgrade(router)).toBe("success");
    expect(await rotating.upgrade(anna)).toBe("success");
  },
);

long("the cache's: a second entry with the same address, signed with the new key, and the old entry out", async () => {
  await using cache = await BinaryCache.start(path.join(world.dir, "cache"), "cache-1");
  const keys = await rotating.keygen("cache", "--cache", "cache-2");
  const newKey = await publicHalf(path.join(keys, "cache.pub"));
  await rotating.change("A cache", (content) => {
    content.substituters = [cache.substituter];
  });
  const take = async (signed: "old" | "new"): Promise<unknown> => {
    await rotating.edit();
    await rotating.deploy();
    const roots = path.join(world.dir, "roots");
    const built = await bentoJson<{ hosts: { toplevel: string }[] }>(
      ["build", "--hosts", "router", "--roots", roots],
      rotating.options,
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
  await rotating.deploy();
  expect(await rotating.upgrade(router)).toBe("success");
  expect(await take("old")).toBe("success");
  await rotating.change("Its new key", (content) => {
    content.substituters.push({ url: cache.url, key: newKey });
  });
  expect(await take("old")).toBe("success");
  expect(await take("new")).toBe("success");
  await rotating.change("The old one out", ({ substituters }) => void substituters.shift());
  expect(await take("new")).toBe("success");
  expect(await take("old")).toMatch(/^failed: /);
});
