// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test } from "vitest";
import { parseWorkflow } from "../../src/workflows/workflow.ts";
import { pullRequest, push } from "../action/events.ts";
import { checkout, runStep, type Step } from "../action/runner.ts";
import { evaluateModule, installModule, missing } from "../support/booted-module.ts";
import { succeed } from "../support/programs.ts";
import { Walk } from "./walk.ts";

/**
 * docs/tutorial.md, from the first line to the last. In GitHub's place are a repository, a `gh` that does what the page has it do, and
 * the Action, started as a workflow's step. The router's system is made of what a real NixOS makes of services.bento.
 */

/** What `gh` is told, and what there is of GitHub: a bare repository, the environment's secrets. */
const GH = `#!/bin/bash
set -euo pipefail
printf '%s\\n' "$*" >> "$HOME/../github/asked"
branch=$(git branch --show-current)
case "$1 $2" in
  "repo create") git init -q --bare -b main "$HOME/../github/fleet.git"; git remote add origin "$HOME/../github/fleet.git" ;;
  "secret set") cat > "$HOME/../github/secrets/$3" ;;
  "api --silent") case " $* " in *" --input - "*) jq -e .deployment_branch_policy > /dev/null ;; esac ;;
  "pr create") [ "$branch" != main ] && git rev-parse -q --verify "origin/$branch" > /dev/null ;;
  "pr merge")
    rm -rf "$HOME/../github/merge"
    git clone -q "$HOME/../github/fleet.git" "$HOME/../github/merge"
    number=$(grep -c '^pr merge' "$HOME/../github/asked")
    git -C "$HOME/../github/merge" -c user.name=GitHub -c user.email=noreply@github.com \\
      merge -q --no-ff "origin/$branch" -m "Merge pull request #$number from ada/$branch"
    git -C "$HOME/../github/merge" push -q
    ;;
  "pr checks" | "run watch") ;;
  *) echo "gh $*: nobody does that here" >&2; exit 1 ;;
esac
`;

describe.skipIf(missing.length > 0)(`the tutorial${missing.length ? ` (needs ${missing.join(", ")})` : ""}`, () => {
  let walk: Walk;
  beforeAll(async () => {
    walk = await Walk.make("docs/tutorial.md");
    await mkdir(walk.at("github/secrets"), { recursive: true });
    await writeFile(walk.at("bin/gh"), GH, { mode: 0o755 });
  }, 300_000);
  afterAll(async () => walk?.[Symbol.asyncDispose]());
  beforeEach(() => onTestFailed(() => console.log(walk.router.log)));

  const asked = async () => (await readFile(walk.at("github/asked"), "utf8")).trim().split("\n");
  const inGitHub = (...args: string[]) => succeed("git", ["-C", walk.at("github/fleet.git"), ...args]);

  /** A step of a workflow that `bento init` has made, in a checkout, with what GitHub would give it. */
  async function step(workflow: string, command: string, ref: string, event: object, wave = "all"): Promise<Step> {
    const text = await inGitHub("show", `${ref}:.github/workflows/${workflow}`);
    const steps = parseWorkflow(workflow, text)?.jobs.flatMap((job) => job.steps) ?? [];
    const found = steps.find(({ with: given }) => given.command === command);
    if (found === undefined) throw new Error(`${workflow} has no step for ${command}`);
    const inputs: Record<string, string> = {};
    for (const [name, value] of Object.entries(found.with)) {
      const [, secret] = /^\$\{\{ secrets\.(\w+) \}\}$/.exec(String(value)) ?? [];
      if (secret !== undefined)
        inputs[name] = await readFile(walk.at("github/secrets", secret), "utf8").catch(() => "");
      else inputs[name] = String(value).replace("${{ matrix.wave }}", wave).replace("${{ matrix.shard }}", "1/1");
      expect(inputs[name], name).not.toContain("${{");
    }
    const workspace = await checkout(walk.at("github/fleet.git"), walk.at(`workspace-${Date.now()}`), ref);
    const env = Object.fromEntries(Object.entries(walk.environment()).filter(([name]) => name !== "HOME"));
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
    await walk.run("npm install --global");
    expect((await readdir(walk.at("home/bento-keys"))).sort()).toEqual([
      "publisher",
      "publisher.pub",
      "signing",
      "signing.pub",
    ]);
    await walk.run("scp root@fleet.example.org:/etc/ssh");
    expect(await readFile(walk.at("home/fleet/fleet.yaml"), "utf8")).toContain("port: 2222");
  });

  test("3: the machine, and whether it evaluates", async () => {
    await walk.run("scp -r root@router:/etc/nixos hosts/router");
    const { text } = walk.read("");
    const file = walk.at("home/fleet/hosts/router/configuration.nix");
    const before = await readFile(file, "utf8");
    await writeFile(file, before.replace("imports = [ ./hardware-configuration.nix ];", text));
    expect(await readFile(file, "utf8")).not.toBe(before);
    // What NixOS makes of services.bento, in the form in which the tiny nixpkgs takes it.
    const module = await evaluateModule("router", walk.at("home/fleet/utils/bento.json"));
    await installModule(walk.router, module);
    await writeFile(walk.at("home/fleet/utils/bento.nix"), walk.configurationOf(module));
    const { stdout } = await walk.run("git add -A");
    walk.expectShown(stdout.slice(stdout.indexOf("✓")));
  }, 240_000);

  test("4: the server", async () => {
    const { stdout } = await walk.run('scp -r "$(npm root --global)');
    walk.expectShown(stdout.slice(stdout.indexOf("✓")));
    expect(await walk.server.run("systemctl is-active bento-sshd")).toBe("active");
    expect(await walk.server.run("systemctl is-enabled bento-sshd")).toBe("enabled");
  }, 240_000);

  test("5: GitHub, and the first deploy", async () => {
    await walk.run("gh repo create");
    expect(await readdir(walk.at("github/secrets"))).toEqual(["BENTO_SIGNING_KEY", "BENTO_SSH_KEY"]);
    expect((await asked()).at(-1)).toBe("run watch");
    await deployed();
  }, 240_000);

  test("6: the machine joins", async () => {
    const before = await walk.router.run("readlink /run/current-system");
    await walk.run("bento bootstrap router | ssh root@router sh");
    expect(await walk.router.run("readlink /run/current-system")).not.toBe(before);
    const { stdout } = await walk.run("bento status");
    walk.expectShown(stdout);
  }, 240_000);

  test("7: a change reaches it by itself", async () => {
    await walk.run("git switch -c tmux");
    const check = await checked("tmux");
    expect(check.status, check.stdout).toBe(0);
    expect(check.summary).toContain("+tmux");
    const from = walk.router.logged;
    await walk.run("gh pr merge --merge");
    await deployed();
    await walk.router.says(/^success$/, from);
    expect(await walk.router.run("ls /run/current-system/sw/bin")).toContain("tmux");
  }, 240_000);

  test("8: a mistake undoes itself", async () => {
    const before = await walk.router.run("readlink /run/current-system");
    const { text } = walk.read("");
    const from = walk.router.logged;
    await walk.run("git switch -c mistake");
    // What the page shows is what the command puts there.
    expect(await readFile(walk.at("home/fleet/hosts/router/configuration.nix"), "utf8")).toContain(text);
    expect((await checked("mistake")).status).toBe(0);
    await deployed();
    await walk.router.says(/^rolled-back: no contact: /, from);
    expect(await walk.router.run("readlink /run/current-system")).toBe(before);
    expect(await walk.router.run("readlink -f /nix/var/nix/profiles/system")).toBe(before);
    await walk.router.says(/is not tried again|undone|rolled-back/, from);
    const status = await walk.tell("bento status");
    expect(status.status).toBe(1);
    walk.expectShown(status.stdout);
    walk.expectEnd();
  }, 240_000);
});
