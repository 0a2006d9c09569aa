import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { recordingPath } from "../cli/bento.ts";
import { configuration } from "../cli/configurations.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { pullRequest, push } from "./events.ts";
import { checkout, definition, runStep } from "./runner.ts";

let world: World;
let fleet: FleetRepository;
let first: string;

withFleet({ resets: true }, async (made) => {
  ({ world, fleet, first } = made);
  // As GitHub does, so that a commit can be fetched by its id.
  await fleet.git("config", "uploadpack.allowAnySHA1InWant", "true");
});

const check = (workspace: string, inputs: Record<string, string> = {}, event = push(first, first)) =>
  runStep({ workspace, event, inputs: { command: "check", ...inputs } });

test("a push that is well: green, a table of hosts in the summary, and nothing on the code", async () => {
  const step = await check(fleet.dir);
  expect(step.status, step.stdout).toBe(0);
  const ofPlan = ["shards", "waves"];
  const outputs = Object.keys((await definition()).outputs).filter((name) => !ofPlan.includes(name));
  expect(Object.keys(step.outputs).sort()).toEqual(outputs.sort());
  expect(step.outputs).toMatchObject({ result: "success", "failed-hosts": "[]", "changed-hosts": "[]" });
  expect(step.document).toMatchObject({ version: 1, command: "check", base: null });
  expect(step.document.hosts).toHaveLength(4);
  expect(step.summary).toContain("## Bento check: 4 hosts: 4 ok\n");
  for (const host of ["laptop-anna", "laptop-ben", "nas", "router"]) {
    const name = host.replace("-", "(?:-|&#45;)");
    const mark = host === "router" ? "not reproducible" : "";
    expect(step.summary).toMatch(
      new RegExp(`^\\| ✅ \\| <code>${name}</code> \\| ok \\| ${mark} \\| 4 to build \\|$`, "m"),
    );
  }
  expect(step.commands).toEqual([]);
  expect(step.log).toContain("4 hosts: 4 ok");
  expect(step.stderr).toBe("");
});

test("a pull request: compared with what it would be merged into, and each mistake shown at its line", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.nginxx");
  const head = await fleet.commit("A change");
  await using dir = await scratch();
  const workspace = await checkout(fleet.dir, path.join(dir.path, "checkout"), head);
  const step = await check(workspace, {}, pullRequest(first, head));
  expect(step.status).toBe(1);
  expect(step.outputs).toMatchObject({
    result: "failure",
    "failed-hosts": '["router"]',
    "changed-hosts": '["nas"]',
  });
  expect(step.annotations("error")).toEqual([
    {
      name: "error",
      properties: {
        title: "router",
        file: "hosts/router/configuration.nix",
        line: "6",
        col: expect.stringMatching(/^\d+$/),
      },
      data: "attribute 'nginxx' missing\n→ Did you mean nginx?",
    },
    { name: "error", properties: {}, data: "bento check: 1 failed: router" },
  ]);
  // What failed is first, with where and why; what Nix said is behind a line to click on.
  const rows = step.summary.split("\n").filter((line) => line.startsWith("| "));
  expect(step.summary).toContain(`compared with <code>${first.slice(0, 12)}</code>`);
  expect(rows[2]).toMatch(
    /^\| ❌ \| <code>router<\/code> \| failed \| <code>hosts\/router\/configuration\.nix&#58;6&#58;\d+<\/code> attribute /,
  );
  expect(step.summary).toMatch(
    /^\| 🔶 \| <code>nas<\/code> \| changed \| \+curl 8\.17\.0, -postgresql 18\.1 \| .* \|$/m,
  );
  expect(step.summary).toMatch(/<details><summary>router.*<\/summary><pre>.*Did you mean nginx\?.*<\/pre><\/details>/s);
});

test("the base asked for goes before the pull request's", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  const head = await fleet.commit("A change");
  const step = await check(fleet.dir, { base: "HEAD", hosts: "nas" }, pullRequest(first, head));
  expect(step.status).toBe(0);
  expect(step.document).toMatchObject({ base: "HEAD", hosts: [{ name: "nas", status: "unchanged" }] });
});

test("a shallow checkout doesn't have the base: a warning says how to get it, and the check goes on", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  const head = await fleet.commit("A change");
  await using dir = await scratch();
  const workspace = await checkout(fleet.dir, path.join(dir.path, "checkout"), head, 1);
  const step = await check(workspace, { hosts: "nas" }, pullRequest(first, head));
  expect(step.status).toBe(0);
  expect(step.annotations("warning").map(({ data }) => data)).toEqual([
    expect.stringMatching(/^nothing is compared: git knows no commit .*fetch-depth: 0/),
  ]);
  expect(step.summary).toContain("⚠️ nothing is compared");
  expect(step.document).toMatchObject({ base: null, hosts: [{ name: "nas", status: "ok" }] });
  // A base that somebody asked for is another matter.
  const asked = await check(workspace, { base: first });
  expect(asked.status).toBe(1);
  expect(asked.annotations("error")).toMatchObject([
    { data: expect.stringContaining(`git knows no commit '${first}' here`) },
  ]);
});

test("a fleet in a directory of the workspace: annotations name files from the workspace on", async () => {
  await using repo = await gitRepository({ "machines/hosts/one/configuration.nix": configuration("one", "  x = y;") });
  for (const place of ["machines", "./machines/"]) {
    const step = await check(repo.dir, { fleet: place });
    expect(step.status).toBe(1);
    expect(step.annotations("error")[0]).toMatchObject({
      properties: { title: "one", file: "machines/hosts/one/configuration.nix", line: "4" },
      data: "undefined variable 'y'",
    });
  }
});

test("hosts and what is passed on to Nix come from the inputs", async () => {
  await using repo = await gitRepository({
    "hosts/one/configuration.nix": configuration("one", "  environment.etc.where = toString <elsewhere>;"),
    "hosts/two/configuration.nix": configuration("two"),
  });
  const step = await check(repo.dir, { hosts: "o*", include: `elsewhere=${repo.dir}\n`, option: "cores 1\n" });
  expect(step.status, step.stdout).toBe(0);
  expect(step.document.hosts).toMatchObject([{ name: "one", status: "ok" }]);
});

test.each([
  [
    { command: "chekc" },
    "the input 'command' must be one of plan, check, report, build, deploy, status, flake-update, not 'chekc'",
  ],
  [
    { command: "" },
    "the input 'command' must be one of plan, check, report, build, deploy, status, flake-update, not ''",
  ],
  [{ timeout: "soon" }, "the input 'timeout' must be seconds, not 'soon'"],
  [{ "dry-run": "yes" }, "the input 'dry-run' must be true or false, not 'yes'"],
  [{ force: "1" }, "the input 'force' must be true or false, not '1'"],
  [{ evaluate: "" }, "the input 'evaluate' must be true or false, not ''"],
  [{ option: "cores" }, "the input 'option' needs a name and a value on each line, and has 'cores'"],
  [
    { "override-input": "nixpkgs" },
    "the input 'override-input' needs a name and a value on each line, and has 'nixpkgs'",
  ],
  [{ hosts: "ruoter" }, "no host is called 'ruoter'\n→ did you mean 'router'?"],
  [{ fleet: "nowhere" }, /nowhere/],
] as const)("a wrong input is one clear line, and red: %j", async (inputs, said) => {
  const step = await check(fleet.dir, inputs);
  expect(step.status).toBe(1);
  expect(step.commands).toEqual([
    { name: "error", properties: {}, data: typeof said === "string" ? said : expect.stringMatching(said) },
  ]);
  expect(step.commands[0]?.data).not.toMatch(/bug in Bento|^ +at /m);
  expect(step.outputs).toEqual({});
});

test("a pull request of a fork is refused on a self-hosted runner, and nowhere else", async () => {
  const run = (runner: string) =>
    runStep({
      workspace: fleet.dir,
      event: pullRequest(first, first),
      inputs: { command: "check", hosts: "router" },
      env: { RUNNER_ENVIRONMENT: runner },
    });
  const refused = await run("self-hosted");
  expect(refused.status).toBe(1);
  expect(refused.annotations("error")[0]?.data).toContain(
    "a pull request of a fork is not run on a self-hosted runner",
  );
  expect((await run("github-hosted")).status).toBe(0);
});

test("an event whose payload can't be read", async () => {
  const step = await runStep({
    workspace: fleet.dir,
    inputs: { command: "check" },
    env: { GITHUB_EVENT_PATH: "/nonexistent" },
  });
  expect(step.status).toBe(1);
  expect(step.annotations("error")).toMatchObject([{ data: "the event's payload can't be read: /nonexistent" }]);
});

test("a runner without summaries, events or a directory for temporary files (an older Forgejo) does the same", async () => {
  const step = await runStep({
    workspace: fleet.dir,
    inputs: { command: "check", hosts: "ruoter" },
    env: { GITHUB_STEP_SUMMARY: undefined, RUNNER_TEMP: undefined },
  });
  expect(step.status).toBe(1);
  expect(step.annotations("error")).toHaveLength(1);
});

test("what a pull request's code prints is no command to the runner, on whatever way", async () => {
  const hostile = `\${builtins.fromJSON ''"\\r::error::owned \\u001b[2J"''}\\n::set-output name=result::owned\\n::stop-commands::x`;
  await using repo = await gitRepository({
    "hosts/a/configuration.nix": configuration("a", `  networking.gateway = throw "::error::owned${hostile}";`),
    "hosts/b/configuration.nix": configuration(
      "b",
      `  networking.gateway = builtins.trace "warning: ::error::owned${hostile}" (builtins.trace "::add-mask::b" "x");`,
    ),
  });
  const step = await check(repo.dir);
  expect(step.status).toBe(1);
  // Two that are Bento's own: the host's failure, and that the step failed.
  expect(step.commands.map(({ name, properties }) => [name, properties.title])).toEqual([
    ["error", "a"],
    ["error", undefined],
  ]);
  expect(step.log).toContain("owned");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(step.stdout).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
  expect(step.outputs.result).toBe("failure");
});

test("no program that is started, and so nothing that is evaluated, has the keys in its environment", async () => {
  const secret = (await readFile(world.publisherKey.file, "utf8")).trim();
  await using dir = await scratch();
  const { PATH, seen } = await recordingPath(dir.path);
  const step = await runStep({
    workspace: fleet.dir,
    inputs: { command: "check", hosts: "router", "ssh-key": secret, "signing-key": secret },
    // As a workflow has them that gives all of its steps everything.
    env: { BENTO_SSH_KEY: secret, BENTO_SIGNING_KEY: secret, CANARY: "others are seen", PATH },
  });
  expect(step.status, step.stdout).toBe(0);
  expect(await seen()).toContain("CANARY=others are seen");
  expect(await seen()).not.toMatch(/PRIVATE KEY|(?:SSH|SIGNING)[-_]KEY/);
});

test("build builds, keeps what it built, and shows the log of what doesn't build", async () => {
  const broken = `derivation { name = "broken-1.0"; system = "${world.store.system}"; builder = "/bin/sh"; args = [ "-c" "echo it hurts; exit 1" ]; }`;
  await using repo = await gitRepository({
    "hosts/well/configuration.nix": configuration("well"),
    "hosts/broken/configuration.nix": configuration("broken", `  environment.systemPackages = [ (${broken}) ];`),
  });
  const state = path.join(repo.dir, "../state");
  await mkdir(state);
  const env = { XDG_STATE_HOME: state, GITHUB_REPOSITORY: "example/fleet" };
  const step = await runStep({ workspace: repo.dir, inputs: { command: "build" }, env });
  expect(step.status).toBe(1);
  expect(step.outputs).toMatchObject({ result: "failure", "failed-hosts": '["broken"]' });
  expect(step.annotations("error")[0]).toMatchObject({
    properties: { title: "broken" },
    data: expect.stringMatching(/^broken-1\.0 failed to build: builder failed with exit code 1\n/),
  });
  expect(step.summary).toContain("it hurts");
  const well = step.document.hosts.find(({ name }: { name: string }) => name === "well");
  await succeed("nix-store", ["--check-validity", well.toplevel]);
  const [roots = ""] = await readdir(path.join(state, "bento/roots"));
  expect(roots).toMatch(/^fleet-[0-9a-f]{8}$/);
  expect(await readdir(path.join(state, "bento/roots", roots))).toEqual(["well"]);
  await succeed("nix-store", ["--gc"]);
  await succeed("nix-store", ["--check-validity", well.toplevel]);
});

test("a host's name, path or message can't break the table of the summary", async () => {
  await using repo = await gitRepository();
  await mkdir(path.join(repo.dir, "hosts/a"), { recursive: true });
  await writeFile(
    path.join(repo.dir, "hosts/a/configuration.nix"),
    configuration("a", '  networking.gateway = throw "x | y `z` <img src=x> @ada #1 [a](b)";'),
  );
  repo.git("add", "-A");
  const step = await check(repo.dir);
  const row = step.summary.split("\n").find((line) => line.startsWith("| ❌"));
  expect(row?.match(/(?<!\\)\|/g)).toHaveLength(6);
  expect(row).not.toMatch(/[`<](?!\/?(?:code|br)>)|@ada|(?<!&)#1|\]\(/);
});

test("plan: what the matrices of later jobs are made of", async () => {
  const step = await check(fleet.dir, { command: "plan", shards: "3" }, push(first, first));
  expect([step.status, step.outputs]).toEqual([0, { shards: '["1/3","2/3","3/3"]', waves: '["all"]' }]);
  const without = await check(fleet.dir, { command: "plan" }, push(first, first));
  expect(without.outputs).toEqual({ shards: "[]", waves: '["all"]' });
  const wrong = await check(fleet.dir, { command: "plan", shards: "many" }, push(first, first));
  expect(wrong.status).toBe(1);
  expect(wrong.stdout).toContain("the input 'shards' must be a whole number, not 'many'");
});
