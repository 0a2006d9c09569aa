import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import { CLI, onlyEnvironment } from "../cli/bento.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { type Exit, exec } from "../support/programs.ts";
import { ShellAccess } from "../support/shell-access.ts";
import { World } from "../support/world.ts";
import { ofKind } from "./blocks.ts";

// docs/migrate-from-comin.md, "Or publish releases" and "One host after the other", from the page's own words, with a repository as
// comin's are: one flake at the root. comin itself isn't here: that it is suspended stands for it.

const PAGE = "docs/migrate-from-comin.md";
const page = await readFile(path.join(packageRoot(), PAGE), "utf8");
let world: World;
let repository: GitRepository;
let machine: Machine;
let shell: ShellAccess;
let bin: string;

beforeAll(async () => {
  world = await World.make({ hosts: ["router"] });
  machine = await world.machine("router");
  // It confirms in no time, or not at all.
  shell = await ShellAccess.make(machine, "unset BENTO_CONFIG; export BENTO_CONFIRM_TIMEOUT=6");
  repository = await gitRepository({
    "flake.nix": `{
      inputs.nixpkgs.url = "path:${world.store.nixpkgs}";
      outputs = { nixpkgs, ... }: {
        nixosConfigurations = builtins.mapAttrs
          (name: _: nixpkgs.lib.nixosSystem { system = "${world.store.system}"; modules = [ ./hosts/\${name}/configuration.nix ]; })
          (builtins.readDir ./hosts);
      };
    }\n`,
    "hosts/router/configuration.nix": host("router", "comin"),
    "hosts/nas/configuration.nix": host("nas", "comin"),
    "modules/motd.nix": '{ environment.etc."motd" = "hello"; }\n',
    "utils/bento.nix": "{ }\n",
    "README.md": "A fleet that comin looks after.\n",
  });
  bin = path.join(world.dir, "bin");
  await mkdir(bin);
  const address = shell.target.split(":").at(-1);
  const programs = {
    bento: `exec '${process.execPath}' '${CLI}' "$@"`,
    ssh: `exec /usr/bin/ssh -F '${shell.config}' -o HostName=127.0.0.1 -o Port=${address} -o HostKeyAlias=router "$@"`,
  };
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  const [, ...key] = (await readFile(shell.knownHosts, "utf8")).trim().split(" ");
  const access = await readFile(shell.config, "utf8");
  await writeFile(shell.config, access.replace("Host 127.0.0.1", "Host *"));
  await writeFile(shell.knownHosts, `router ${key.join(" ")}\n`);
  const locked = await run("nix flake lock && git add -A && git commit -qm lock");
  expect(locked.status, locked.stderr).toBe(0);
});
afterAll(async () => {
  await shell?.[Symbol.asyncDispose]();
  await repository?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** With comin, or with Bento in its place. What the tiny nixpkgs can't evaluate are modules of a real NixOS: that of Bento is empty. */
function host(name: string, bento: "comin" | "bento", more = ""): string {
  const [own, imported] = bento === "bento" ? ["services.bento.enable = true;", "../../utils/bento.nix"] : ["", ""];
  return `{ imports = [ ../../modules/motd.nix ${imported} ]; networking.hostName = "${name}"; ${own} ${more} }\n`;
}

/** The first step, which goes with the first deploy. */
function replaced(more = "") {
  expect(page).toContain("replace `services.comin` by `services.bento.enable = true;` and import `utils/bento.nix`");
  return { "hosts/router/configuration.nix": host("router", "bento", more) };
}

/** Runs commands as an administrator types them, in the repository. */
function run(commands: string): Promise<Exit> {
  const env = onlyEnvironment({
    PATH: `${bin}:${process.env.PATH}`,
    BENTO_SSH_KEY_FILE: world.publisherKey.file,
    BENTO_SIGNING_KEY_FILE: world.signingKey.file,
  });
  return exec("bash", ["-e", "-o", "pipefail", "-c", commands], { cwd: repository.dir, env });
}

/** A command that the page has in its text. */
function typed(command: string): Promise<Exit> {
  expect(page).toContain(`\`${command}\``);
  return run(command);
}

test("a flake at the root: each host gets what its include names", async () => {
  const [yaml, ...others] = ofKind("yaml").filter((block) => block.page === PAGE);
  expect(others).toEqual([]);
  const { hosts } = parse(yaml?.text.replace("ssh-ed25519 AAAA…", world.hostKeys.router?.publicKey ?? "") ?? "");
  const { serverSettings: server, signingKey } = world;
  const fleet = { server, signers: [signingKey.publicKey], hosts };
  await repository.commit({ "fleet.yaml": stringify(fleet, { lineWidth: 0 }) });
  const rendered = await run("bento render && git add -A && git commit -qm fleet");
  expect(rendered.status, rendered.stdout + rendered.stderr).toBe(0);
  const check = async () => JSON.parse((await run("bento check --hosts router --json || true")).stdout).hosts;
  expect(await check()).toMatchObject([
    { name: "router", status: "failed", error: { hint: expect.stringContaining("utils/bento.nix") } },
  ]);
  await repository.commit(replaced());
  expect(await check()).toMatchObject([{ name: "router", status: "ok", warnings: [], error: null }]);
});

long("a system that can't be confirmed: the machine is back where it was", async () => {
  await repository.commit(replaced('networking.gateway = "127.0.0.9";'));
  const deployed = await run("bento deploy --hosts router");
  expect(deployed.status, deployed.stdout + deployed.stderr).toBe(0);
  const { status, stderr } = await typed("bento bootstrap router | ssh root@router sh");
  expect(status).not.toBe(0);
  expect(stderr).toMatch(/\nrolled-back: no contact: /);
  expect(await machine.running()).toBe(machine.factory);
  expect(await machine.bootDefault()).toBe(machine.factory);
});

test("one host after the other: it has its new system, and of the repository what it was given", async () => {
  await repository.commit(replaced());
  expect((await run("bento deploy --hosts router")).status).toBe(0);
  const { status, stdout, stderr } = await typed("bento bootstrap router | ssh root@router sh");
  expect(status, stdout + stderr).toBe(0);
  expect(await machine.running()).toMatch(/-nixos-system-router-/);
  expect(await machine.running()).not.toBe(machine.factory);
  expect(await machine.bootDefault()).toBe(await machine.running());
  const tree = machine.path("state/release/tree");
  expect((await readdir(tree)).sort()).toEqual(["flake.lock", "flake.nix", "hosts", "modules", "utils"]);
  expect(existsSync(path.join(tree, "hosts/nas"))).toBe(false);
  expect((await run("bento status --hosts router")).stdout).toMatch(/^✓ +router +up to date /m);
});
