import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bento, onlyEnvironment } from "../cli/bento.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { GitServer } from "../support/git-server.ts";
import { exec } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { ofKind } from "./blocks.ts";

// docs/git.md: whose key opens what. In GitHub's place is a git server, and a `gh` that writes down the deploy keys it is given.

/** `ssh` and `scp` do on this machine what they would on the router. */
const PROGRAMS = {
  gh: `case "$1 $2" in
  "api meta") cat "$GITHUB/host_key" ;;
  "repo deploy-key") case " $* " in *" --allow-write "*) cat "$4" >> "$GITHUB/write" ;; *) cat "$4" >> "$GITHUB/read" ;; esac ;;
  "secret set") cat > "$GITHUB/$3" ;;
  *) echo "gh $*: nobody does that here" >&2; exit 1 ;;
esac`,
  ssh: `shift; eval "$(printf %s "$*" | sed "s|/var/lib|$ROUTER|g")"`,
  scp: `case $1 in *:/etc/ssh/*) from=$ROUTER/host_key.pub ;; *) from=$ROUTER/\${1##*/} ;; esac; cp "$from" "$2"`,
};

let world: World;
let server: GitServer;
let fleet: FleetRepository;
const at = (...names: string[]) => path.join(world.dir, "reader", ...names);

beforeAll(async () => {
  world = await World.make();
  server = await GitServer.make(path.join(world.dir, "git"), { write: [], read: [] });
  fleet = await world.makeFleet();
  for (const place of ["bin", "github", "router", "home/bento-keys"]) await mkdir(at(place), { recursive: true });
  for (const [name, text] of Object.entries(PROGRAMS))
    await writeFile(at("bin", name), `#!/bin/bash\nset -e\n${text}\n`, { mode: 0o755 });
  await writeFile(at("github/host_key"), `${server.hostKey.publicKey}\n`);
  await writeFile(at("router/host_key.pub"), `${world.hostKeys.router?.publicKey}\n`);
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

const blocks = ofKind("shell", "yaml", "nix").filter(({ page }) => page === "docs/git.md");

/** The block that begins so, as the reader runs it, and what it prints. */
async function run(beginning: string): Promise<string> {
  const block = blocks.find(({ text }) => text.startsWith(beginning));
  expect(block, beginning).toBeDefined();
  const { status, stdout, stderr } = await exec("bash", ["-ec", block?.text ?? ""], {
    cwd: fleet.dir,
    env: onlyEnvironment({
      HOME: at("home"),
      PATH: `${at("bin")}:${process.env.PATH}`,
      GITHUB: at("github"),
      ROUTER: at("router"),
    }),
  });
  expect(status, `${block?.at}: ${stderr}`).toBe(0);
  return stdout.trim();
}

const lines = async (file: string) => (await readFile(at("github", file), "utf8").catch(() => "")).trim().split("\n");
/** What GitHub makes of the deploy keys. */
const letIn = async () => server.allow({ write: await lines("write"), read: await lines("read") });
const deploy = (env: Record<string, string> = {}) =>
  bento(["deploy", "--no-eval", "--hosts", "router"], {
    cwd: fleet.dir,
    env: { BENTO_SIGNING_KEY_FILE: world.signingKey.file, HOME: at("home"), ...env },
  });

test("the fleet's releases go to git, and the remote is known by its host key", async () => {
  const hostKey = await run("gh api meta");
  expect(hostKey).toBe(server.hostKey.publicKey);
  const yaml = blocks.find(({ kind }) => kind === "yaml")?.text ?? "";
  const git = yaml.replace("git@github.com:example/fleet.git", server.remote).replace("ssh-ed25519 AAAA…", hostKey);
  expect(git).toContain(server.remote);
  const text = await fleet.read("fleet.yaml");
  await fleet.write("fleet.yaml", `${text.replace(/^server:\n(?: .*\n)+/m, "")}${git}\n`);
  await fleet.render();
  await fleet.commit("Releases go to git");
});

test("the deploy writes with its key, and with no other", async () => {
  await run("ssh-keygen -q -t ed25519 -N '' -C bento-git");
  const key = { BENTO_GIT_SSH_KEY: await readFile(at("github/BENTO_GIT_SSH_KEY"), "utf8") };
  const refused = expect.stringMatching(/^error: .* refused the ssh key\n/);
  const REFUSED = { status: 3, stdout: "", stderr: refused };
  expect(await deploy(key)).toEqual(REFUSED);
  await letIn();
  const { status, stdout } = await deploy(key);
  expect([status, stdout]).toEqual([0, expect.stringMatching(/router +published/)]);
  expect(await server.git("for-each-ref", "--format=%(refname)")).toBe("refs/heads/bento/router");
  expect(await deploy({ BENTO_GIT_SSH_KEY_FILE: world.hostKeys.router?.file ?? "" })).toEqual(REFUSED);
});

test("a host reads with its host key, or with one of its own", async () => {
  const machine = await world.machine("router");
  await writeFile(machine.path("etc/bento.json"), await fleet.read("utils/bento.json"));
  const before = await machine.running();
  const outside = await machine.agent();
  expect([outside.status, outside.stderr]).toEqual([
    1,
    expect.stringMatching(/^no contact: git: \S+ refused the key /),
  ]);
  await run("scp root@router:/etc/ssh");
  expect(await lines("read")).toEqual([world.hostKeys.router?.publicKey]);
  await letIn();
  expect((await machine.agent()).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).not.toBe(before);

  // It may read, and no more.
  await fleet.edit("hosts/router/configuration.nix", "{ pkgs, ... }:", "{ pkgs, ... }: # changed\n");
  await fleet.commit("A change");
  const refs = await server.git("for-each-ref");
  const written = await deploy({ BENTO_GIT_SSH_KEY_FILE: machine.key.file });
  expect([written.status, written.stderr]).toEqual([3, expect.stringContaining("denied")]);
  expect(await server.git("for-each-ref")).toBe(refs);

  // The other key alone is let in now.
  await writeFile(at("github/read"), "");
  await run("ssh root@router");
  await letIn();
  expect((await machine.agent()).stderr).toContain("refused the key");
  const nix = blocks.find(({ kind }) => kind === "nix")?.text ?? "";
  expect(nix).toBe('services.bento.git.key = "/var/lib/bento-git-key";');
  const own = await machine.agent({ BENTO_GIT_KEY: at("router/bento-git-key") });
  expect([own.status, own.stderr]).toEqual([0, expect.stringMatching(/^up to date with release /)]);
});
