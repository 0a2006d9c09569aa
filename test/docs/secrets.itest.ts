import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import { CLI, onlyEnvironment } from "../cli/bento.ts";
import { evaluate, MACHINE as HARDWARE, nixpkgs } from "../modules/nixos.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { type Exit, exec, succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { ofKind } from "./blocks.ts";

// docs/secrets.md, worked through by Anna from its own blocks. The tests go on where the one before them stopped.

const PAGE = "docs/secrets.md";
const text = await readFile(path.join(packageRoot(), PAGE), "utf8");
let world: World;
let fleet: FleetRepository;
let anna: KeyPair;
let ben: string;

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  for (const dir of ["home/.ssh", "bin"]) await mkdir(at(dir), { recursive: true });
  anna = await makeKey(at("anna"));
  ben = at("ben");
  await succeed("age-keygen", ["-o", ben]);
  await writeFile(at("home/.ssh/id_ed25519"), await readFile(anna.file), { mode: 0o600 });
  await writeFile(at("bin/bento"), `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`, { mode: 0o755 });
  // It adds a line to what is there, and to a commit its subject.
  const editor = `#!/bin/sh\ncase $1 in *COMMIT_EDITMSG) echo Secrets > "$1" ;; *) echo edited >> "$1" ;; esac\n`;
  await writeFile(at("bin/editor"), editor, { mode: 0o755 });
});

const at = (...place: string[]) => path.join(world.dir, "walk", ...place);

/** The one block of a kind with these words in it. */
function block(kind: "yaml" | "nix" | "shell", words: string): string {
  const found = ofKind(kind).filter((one) => one.page === PAGE && one.text.includes(words));
  expect(found.length, words).toBe(1);
  return found[0]?.text ?? "";
}

/** Runs commands as Anna types them, in the fleet. */
function run(commands: string, input = ""): Promise<Exit> {
  const env = onlyEnvironment({
    HOME: at("home"),
    PATH: `${at("bin")}:${process.env.PATH}`,
    EDITOR: "editor",
    BENTO_SSH_KEY_FILE: world.publisherKey.file,
    BENTO_SIGNING_KEY_FILE: world.signingKey.file,
  });
  return exec("bash", ["-e", "-o", "pipefail", "-c", commands], { cwd: fleet.dir, env, input });
}

/** A command that the page has in its text, with its own words for what it stands for. */
async function typed(command: string, words: Record<string, string> = {}): Promise<string> {
  expect(text).toContain(`\`${command}\``);
  const { status, stdout, stderr } = await run(command.replace(/[A-Z]{3,}/g, (word) => words[word] ?? word));
  expect(status, stdout + stderr).toBe(0);
  return stdout;
}

/** Changes fleet.yaml. */
async function edit(change: (content: Content) => void): Promise<void> {
  const content: Content = parse(await fleet.read("fleet.yaml"));
  change(content);
  await fleet.write("fleet.yaml", stringify(content, { lineWidth: 0 }));
}
interface Content {
  administrators: string[];
  hosts: Record<string, { key: string; groups?: string[] }>;
}

const file = (host: string, name: string) => path.join(fleet.dir, "secrets", host, `${name}.age`);
const open = (key: string, secret: string) => exec("age", ["-d", "-i", key, secret], {});
const hostKey = (host: string) => world.hostKeys[host]?.file ?? "";

test("who can read them, and making one", async () => {
  const keys = [`${anna.publicKey} anna`, `${await succeed("age-keygen", ["-y", ben])} ben`];
  const yaml = block("yaml", "administrators:")
    .replace("ssh-ed25519 AAAA… anna", keys[0] ?? "")
    .replace("age1… ben", keys[1] ?? "")
    .replace("ssh-ed25519 AAAA… root@router", `${world.hostKeys.router?.publicKey} root@router`);
  const { administrators, hosts }: Content = parse(yaml);
  expect(administrators).toEqual(keys);
  await edit((content) => {
    content.administrators = administrators;
    Object.assign(content.hosts.router ?? {}, hosts.router);
    for (const [name, host] of Object.entries(content.hosts)) if (name.startsWith("laptop-")) host.groups = ["laptops"];
  });
  expect((await run("bento render && git commit -qam administrators")).status).toBe(0);

  await fleet.write("wg0.key", "from a file\n");
  const made = await run(block("shell", "bento secret set router"), "typed");
  expect(made.status, made.stdout + made.stderr).toBe(0);
  expect(await fleet.git("log", "-1", "--format=%s", "--", "secrets")).toBe("Secrets");
  expect((await open(hostKey("router"), file("router", "wireguard"))).stdout).toBe("from a file\nedited\n");
  for (const host of ["laptop-anna", "laptop-ben"]) {
    for (const key of [hostKey(host), anna.file, ben])
      expect((await open(key, file(host, "wifi"))).stdout).toBe("typed");
    expect((await open(hostKey("router"), file(host, "wifi"))).status).not.toBe(0);
  }
});

describe.skipIf(!nixpkgs)("on the machine", () => {
  test("it is where the module says, as it says, and nowhere else in clear", async () => {
    const found = await evaluate(
      `{ config, lib, pkgs, ... }: {
        imports = [ ${packageRoot()}/utils/bento.nix { ${HARDWARE} } ];
        services.openssh.enable = true;
        services.bento.enable = true;
        ${block("nix", "services.bento.secrets.wireguard")}
      }`,
      `{ declared = config.environment.etc."bento-secrets.json".text; inherit (config.services.bento.secrets.wireguard) path; }`,
    );
    expect(text).toContain(`Where it is, ${found.path},`);
    const declared = `environment.etc."bento-secrets.json" = ''${found.declared}'';`;
    await fleet.edit("hosts/router/configuration.nix", "networking.hostName", `${declared}\n  networking.hostName`);
    await fleet.commit("It is used");
    const deployed = await run("bento deploy --hosts router");
    expect(deployed.status, deployed.stderr).toBe(0);
    const machine = await world.machine("router");
    const upgraded = await machine.agent();
    expect(upgraded.stderr).toMatch(/\nsuccess\n/);
    const place = machine.path(found.path.slice(1));
    expect(await readFile(place, "utf8")).toBe("from a file\nedited\n");
    expect((await stat(place)).mode & 0o777).toBe(0o400);

    await machine.restart();
    expect((await machine.agent({}, ["secrets"])).status).toBe(0);
    expect(await readFile(place, "utf8")).toBe("from a file\nedited\n");

    const places = [world.store.dir, world.server.root, machine.path("state"), fleet.dir];
    const clear = await exec("grep", [
      "-rlE",
      "--exclude=wg0.key",
      "--exclude-dir=.git",
      "from a file|edited$",
      ...places,
    ]);
    expect(clear.stdout).toBe("");
    const reports = path.join(world.server.chroot("router"), "reports");
    const logs = await exec("sh", ["-c", 'gzip -dc "$1"/*.log.gz', "sh", reports]);
    expect(logs.stdout).toMatch(/activating/);
    expect(logs.stdout).not.toContain("from a file");
  });
});

test("when keys change", async () => {
  const before = await readFile(file("router", "wireguard"));
  const carol = await makeKey(at("carol"));
  await edit(({ administrators }) => administrators.push(`${carol.publicKey} carol`));
  expect(await typed("bento secret list")).toMatch(/^router +wireguard +encrypted to other keys/m);
  await typed("bento secret rekey");
  expect((await open(carol.file, file("router", "wireguard"))).stdout).toContain("edited");
  expect(await typed("bento secret list")).not.toContain("other keys");

  // Who leaves.
  await edit((content) => {
    content.administrators = content.administrators.filter((key) => !key.endsWith(" carol"));
  });
  await typed("bento secret rekey");
  expect((await open(carol.file, file("router", "wireguard"))).status).not.toBe(0);

  // A machine that was installed anew.
  const anew = await makeKey(at("anew"));
  await edit(({ hosts }) => {
    if (hosts.router) hosts.router.key = `${anew.publicKey} root@router`;
  });
  await typed("bento render");
  await typed("bento secret rekey HOST", { HOST: "router" });
  expect((await open(anew.file, file("router", "wireguard"))).stdout).toContain("edited");
  expect((await open(hostKey("router"), file("router", "wireguard"))).status).not.toBe(0);
  await writeFile(at("before.age"), before);
  expect((await open(hostKey("router"), at("before.age"))).stdout).toContain("edited");
});
