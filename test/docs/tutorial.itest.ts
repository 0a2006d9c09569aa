// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";
import { pullRequest, push } from "../action/events.ts";
import { checkout, runStep, type Step } from "../action/runner.ts";
import { onlyEnvironment } from "../cli/bento.ts";
import { BootedMachine, Cable } from "../support/booted.ts";
import {
  configurationWith,
  evaluateModule,
  installModule,
  installSystem,
  missing,
  ownStore,
  prepareLogin,
  prepareMachine,
} from "../support/booted-module.ts";
import { makeKey } from "../support/keys.ts";
import { type Exit, exec, succeed } from "../support/programs.ts";
import { type WorldDirectory, worldDirectory } from "../support/world-directory.ts";
import { ofKind } from "./blocks.ts";

/**
 * docs/tutorial.md, from the first line to the last: each block of commands is run as it stands there. The router and the server are
 * machines that systemd has booted. In GitHub's place are a repository, a `gh` that does what the page has it do, and the Action,
 * started as a workflow's step. Only the systems are small, and made of what a real NixOS makes of services.bento.
 */
const blocks = ofKind("shell", "output", "nix").filter(({ page }) => page === "docs/tutorial.md");

/** What `gh` is told, and what there is of GitHub: a bare repository, the environment's secrets. */
const GH = `#!/bin/bash
set -euo pipefail
printf '%s\\n' "$*" >> "$GITHUB/asked"
branch=$(git branch --show-current)
case "$1 $2" in
  "repo create") git init -q --bare -b main "$GITHUB/fleet.git"; git remote add origin "$GITHUB/fleet.git" ;;
  "secret set") cat > "$GITHUB/secrets/$3" ;;
  "api --silent") case " $* " in *" --input - "*) jq -e .deployment_branch_policy > /dev/null ;; esac ;;
  "pr create") [ "$branch" != main ] && git rev-parse -q --verify "origin/$branch" > /dev/null ;;
  "pr merge")
    rm -rf "$GITHUB/merge"
    git clone -q "$GITHUB/fleet.git" "$GITHUB/merge"
    number=$(grep -c '^pr merge' "$GITHUB/asked")
    git -C "$GITHUB/merge" -c user.name=GitHub -c user.email=noreply@github.com \\
      merge -q --no-ff "origin/$branch" -m "Merge pull request #$number from ada/$branch"
    git -C "$GITHUB/merge" push -q
    ;;
  "pr checks" | "run watch") ;;
  *) echo "gh $*: nobody does that here" >&2; exit 1 ;;
esac
`;

describe.skipIf(missing.length > 0)(`the tutorial${missing.length ? ` (needs ${missing.join(", ")})` : ""}`, () => {
  const resources = new AsyncDisposableStack();
  let world: WorldDirectory;
  let router: BootedMachine;
  let server: BootedMachine;
  let cables: readonly [Cable, Cable];
  let next = 0;
  const at = (...place: string[]) => path.join(world.path, ...place);

  beforeAll(async () => {
    cables = await Cable.pair();
    for (const cable of cables) resources.use(cable);
    world = resources.use(await worldDirectory());
    const ada = await makeKey(at("ada"));
    router = resources.use(await BootedMachine.make(at("router"), "router", cables[0]));
    server = resources.use(await BootedMachine.make(at("server"), "server", cables[1]));
    const known: string[] = [];
    for (const [name, machine] of [
      ["router", router],
      ["fleet.example.org", server],
    ] as const) {
      const key = await makeKey(at(`key-of-${name}`));
      await prepareMachine(machine, { text: await readFile(key.file, "utf8"), publicKey: key.publicKey });
      await prepareLogin(machine, "/etc/ssh/ssh_host_ed25519_key", ada.publicKey, { BENTO_CONFIRM_SETTLE: "2" });
      known.push(`${name} ${key.publicKey}\n`);
    }
    await router.write(
      "/etc/nixos/configuration.nix",
      '{ config, lib, pkgs, ... }:\n{\n  imports = [ ./hardware-configuration.nix ];\n  networking.hostName = "router";\n}\n',
    );
    await router.write("/etc/nixos/hardware-configuration.nix", configurationWith("router", wiring(), {}));
    await router.boot();
    await server.boot();
    await installSystem(router);
    await router.run("systemctl start sshd-test.service");
    const [, wire] = cables;
    await server.run(
      `ip address add ${wire.peer}/24 dev ${wire.interface} && ip link set ${wire.interface} up && systemctl start sshd-test.service`,
    );

    // What Ada has: ssh, which knows both machines; gh; Nix; and no bento yet.
    for (const place of ["bin", "home", "store/store", "github/secrets", "clone"])
      await mkdir(at(place), { recursive: true });
    await writeFile(at("known_hosts"), known.join(""));
    const hosts = { router: cables[0].peer, "fleet.example.org": cables[1].peer };
    const config = Object.entries(hosts).map(
      ([name, address]) => `Host ${name}\n  HostName ${address}\n  HostKeyAlias ${name}\n`,
    );
    const all = `Host *\n  IdentityFile ${ada.file}\n  IdentitiesOnly yes\n  UserKnownHostsFile ${at("known_hosts")}\n  StrictHostKeyChecking yes\n  BatchMode yes\n`;
    await writeFile(at("ssh_config"), [...config, all].join(""));
    await program("ssh", `exec /usr/bin/ssh -F '${at("ssh_config")}' "$@"`);
    await program("scp", `exec /usr/bin/scp -F '${at("ssh_config")}' "$@"`);
    await program("sleep", ":");
    await writeFile(at("bin/gh"), GH, { mode: 0o755 });
    // Her store, and the runner's, has the places that the machines' have, too.
    const inside = `unshare --mount sh -c 'mount --bind "$0" /nix && exec "$@"' '${at("store")}'`;
    for (const name of ["nix", "nix-instantiate", "nix-store"]) {
      await program(name, `exec ${inside} ${await succeed("sh", ["-c", `command -v ${name}`])} "$@"`);
    }
    await program("bento", `exec ${inside} ${at("home/npm/bin/bento")} "$@"`);
    const names = `import dns from "node:dns";
      const { lookup } = dns;
      dns.lookup = (name, ...rest) => lookup(name === "fleet.example.org" ? "${cables[1].peer}" : name, ...rest);\n`;
    await writeFile(at("names.mjs"), names);
    await succeed("git", ["config", "--global", "user.name", "Ada"], { env: environment() });
    await succeed("git", ["config", "--global", "user.email", "ada@example.org"], { env: environment() });
    // Bento as it is committed, with what is built.
    await succeed("git", ["clone", "-q", "--depth=1", `file://${packageRoot()}`, at("clone/bento")]);
    for (const what of ["dist", "utils", "share", "action.yml", "package.json"]) {
      await succeed("cp", ["-r", path.join(packageRoot(), what), at("clone/bento")]);
    }
    await succeed("git", ["-C", at("clone/bento"), "add", "-A"], { env: environment() });
    await succeed("git", ["-C", at("clone/bento"), "commit", "-q", "--allow-empty", "-m", "now"], {
      env: environment(),
    });
    await writeFile(at("state"), `cd '${at("home")}'\n`);
  }, 300_000);
  afterAll(async () => resources.disposeAsync());
  beforeEach(() => onTestFailed(() => console.log(router.log)));

  /** How the router reaches its server, and is reached. */
  const wiring = () => ({ ...own(cables[0]), address: cables[1].peer });
  const own = ({ peer, peer6, interface: name }: Cable) => ({ peer, peer6, interface: name });

  const program = (name: string, script: string) =>
    writeFile(at("bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });

  const environment = () =>
    onlyEnvironment({
      ...ownStore,
      HOME: at("home"),
      PATH: `${at("bin")}:${at("home/npm/bin")}:${path.dirname(process.execPath)}:${process.env.PATH}`,
      NIX_REMOTE: "local",
      NIX_PATH: `nixpkgs=${packageRoot()}/scripts/demo-fleet/nixpkgs`,
      NIX_CONFIG: "experimental-features = nix-command flakes\nsandbox = false\nbuild-users-group =\nsubstituters =\n",
      NODE_OPTIONS: `--import=${at("names.mjs")}`,
      GITHUB: at("github"),
      npm_config_prefix: at("home/npm"),
      npm_config_registry: "http://127.0.0.1:9/",
      npm_config_fetch_retries: "0",
    });

  /** Runs the next block, in the shell that the one before has left; and checks that it begins like this. */
  async function block(beginning: string): Promise<Exit> {
    const { text, at: place } = blocks[next++] ?? { text: "", at: "the end" };
    expect(text.startsWith(beginning), `${place} doesn't begin with ${beginning}`).toBe(true);
    const script = text.replace("github:bento-nix/bento", `git+file://${at("clone/bento")}`);
    const kept = `trap 'status=$?; { export -p; printf "cd %q\\n" "$PWD"; } > ${at("state")}; exit $status' EXIT`;
    const exit = await exec("bash", ["-c", `. ${at("state")}\n${kept}\nset -eo pipefail\n${script}`], {
      env: environment(),
    });
    expect(exit.status, `${place}:\n${exit.stdout}${exit.stderr}`).toBe(0);
    return exit;
  }

  /** The next block is what a command prints: this, but for what is another each time. */
  function expectShown(output: string): void {
    const { text } = blocks[next++] ?? { text: "" };
    const alike = (one: string) =>
      one
        .trimEnd()
        .replace(/[0-9a-f]{12}/g, "COMMIT")
        .replace(/just now|\d+ (?:second|minute)s? ago/g, "WHEN")
        .replace(/\d+ to (?:build|fetch)[^;]*/g, "COST")
        .replace(/(?<=can't be reached: ).*/g, "…")
        .replace(/ {2,}/g, "  ");
    expect(alike(output)).toBe(alike(text));
  }

  const tell = (line: string) => exec("bash", ["-c", `. ${at("state")}\n${line}`], { env: environment() });
  const asked = async () => (await readFile(at("github/asked"), "utf8")).trim().split("\n");
  const inGitHub = (...args: string[]) => succeed("git", ["-C", at("github/fleet.git"), ...args]);

  /** A step of a workflow that `bento init` has made, in a checkout, with what GitHub would give it. */
  async function step(workflow: string, command: string, ref: string, event: object, wave = "all"): Promise<Step> {
    const text = await inGitHub("show", `${ref}:.github/workflows/${workflow}`);
    const steps = parseWorkflow(workflow, text)?.jobs.flatMap((job) => job.steps) ?? [];
    const found = steps.find(({ with: given }) => given.command === command);
    if (found === undefined) throw new Error(`${workflow} has no step for ${command}`);
    const inputs: Record<string, string> = {};
    for (const [name, value] of Object.entries(found.with)) {
      const [, secret] = /^\$\{\{ secrets\.(\w+) \}\}$/.exec(String(value)) ?? [];
      if (secret !== undefined) inputs[name] = await readFile(at("github/secrets", secret), "utf8").catch(() => "");
      else inputs[name] = String(value).replace("${{ matrix.wave }}", wave).replace("${{ matrix.shard }}", "1/1");
      expect(inputs[name], name).not.toContain("${{");
    }
    const workspace = await checkout(at("github/fleet.git"), at(`workspace-${Date.now()}`), ref);
    const env = Object.fromEntries(Object.entries(environment()).filter(([name]) => name !== "HOME"));
    return runStep({ workspace, inputs, event, env });
  }

  /** What GitHub does when main has moved. */
  async function deployed(): Promise<void> {
    const head = await inGitHub("rev-parse", "main");
    const plan = await step("bento-deploy.yml", "plan", "main", push(head, head));
    expect(plan.outputs.waves, plan.stdout).toBe('["all"]');
    const deploy = await step("bento-deploy.yml", "deploy", "main", push(head, head));
    expect(deploy.status, deploy.stdout).toBe(0);
    expect(deploy.outputs["changed-hosts"]).toBe('["router"]');
  }

  const checked = async (branch: string) =>
    step(
      "bento-check.yml",
      "check",
      branch,
      pullRequest(await inGitHub("rev-parse", "main"), await inGitHub("rev-parse", branch), "repository"),
    );

  test("1 and 2: the command, the keys, the fleet", async () => {
    await block("npm install --global");
    expect((await readdir(at("home/bento-keys"))).sort()).toEqual([
      "publisher",
      "publisher.pub",
      "signing",
      "signing.pub",
    ]);
    await block("scp root@fleet.example.org:/etc/ssh");
    expect(await readFile(at("home/fleet/fleet.yaml"), "utf8")).toContain("port: 2222");
  });

  test("3: the machine, and whether it evaluates", async () => {
    await block("scp -r root@router:/etc/nixos hosts/router");
    const { text } = blocks[next++] ?? { text: "" };
    const file = at("home/fleet/hosts/router/configuration.nix");
    const before = await readFile(file, "utf8");
    await writeFile(file, before.replace("imports = [ ./hardware-configuration.nix ];", text));
    expect(await readFile(file, "utf8")).not.toBe(before);
    // What NixOS makes of services.bento, in the form in which the tiny nixpkgs takes it.
    const module = await evaluateModule("router", at("home/fleet/utils/bento.json"));
    await installModule(router, module);
    const text2 = configurationWith("router", wiring(), module).replace(
      `networking.gateway = "${wiring().address}";`,
      `networking.gateway = if config.networking ? hosts then "192.0.2.1" else "${wiring().address}";`,
    );
    await writeFile(at("home/fleet/utils/bento.nix"), text2.replace("{ ... }:", "{ config, ... }:"));
    const { stdout } = await block("git add -A");
    expectShown(stdout.slice(stdout.indexOf("✓")));
  }, 240_000);

  test("4: the server", async () => {
    const { stdout } = await block('scp -r "$(npm root --global)');
    expectShown(stdout.slice(stdout.indexOf("✓")));
    expect(await server.run("systemctl is-active bento-sshd")).toBe("active");
    expect(await server.run("systemctl is-enabled bento-sshd")).toBe("enabled");
  }, 240_000);

  test("5: GitHub, and the first deploy", async () => {
    await block("gh repo create");
    expect(await readdir(at("github/secrets"))).toEqual(["BENTO_SIGNING_KEY", "BENTO_SSH_KEY"]);
    expect((await asked()).at(-1)).toBe("run watch");
    await deployed();
  }, 240_000);

  test("6: the machine joins", async () => {
    const before = await router.run("readlink /run/current-system");
    await block("bento bootstrap router | ssh root@router sh");
    expect(await router.run("readlink /run/current-system")).not.toBe(before);
    const { stdout } = await block("bento status");
    expectShown(stdout);
  }, 240_000);

  test("7: a change reaches it by itself", async () => {
    await block("git switch -c tmux");
    const check = await checked("tmux");
    expect(check.status, check.stdout).toBe(0);
    expect(check.summary).toContain("+tmux");
    const from = router.logged;
    await block("gh pr merge --merge");
    await deployed();
    await router.says(/^success$/, from);
    expect(await router.run("ls /run/current-system/sw/bin")).toContain("tmux");
  }, 240_000);

  test("8: a mistake undoes itself", async () => {
    const before = await router.run("readlink /run/current-system");
    const { text } = blocks[next++] ?? { text: "" };
    const from = router.logged;
    await block("git switch -c mistake");
    // What the page shows is what the command puts there.
    expect(await readFile(at("home/fleet/hosts/router/configuration.nix"), "utf8")).toContain(text);
    expect((await checked("mistake")).status).toBe(0);
    await deployed();
    await router.says(/^rolled-back: no contact: /, from);
    expect(await router.run("readlink /run/current-system")).toBe(before);
    expect(await router.run("readlink -f /nix/var/nix/profiles/system")).toBe(before);
    await router.says(/is not tried again|undone|rolled-back/, from);
    const status = await tell("bento status");
    expect(status.status).toBe(1);
    expectShown(status.stdout);
    expect(blocks[next]).toBeUndefined();
  }, 240_000);
});
