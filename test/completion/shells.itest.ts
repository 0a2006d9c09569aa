import path from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { bento, CLI } from "../cli/bento.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { exec, start } from "../support/programs.ts";

// Real shells on a terminal: what is typed, the Tab key, and what the shell then runs.

let dir: Awaited<ReturnType<typeof scratch>>;
const SHELLS = {
  bash: { start: ["bash", "--noprofile", "--norc", "-i"], setUp: "source completion.bash" },
  zsh: { start: ["zsh", "-f", "-i"], setUp: "autoload -Uz compinit && compinit -u -D && source ./completion.zsh" },
  fish: { start: ["fish", "--no-config", "-i"], setUp: "source completion.fish" },
};
const shells = Object.keys(SHELLS) as (keyof typeof SHELLS)[];
/** bash is there wherever these tests run. */
const here = await Promise.all(
  shells.map(async (shell) => (await exec("sh", ["-c", `command -v ${shell}`])).status === 0),
);

beforeAll(async () => {
  dir = await scratch();
  // What is run says its arguments, but for what the completion itself asks.
  const program = `#!/bin/sh\nif [ "$1" = completion ]; then exec ${process.execPath} ${CLI} "$@" --fleet ${packageRoot()}; fi\nprintf 'ran:'; printf ' <%s>' "$@"; echo " end"\n`;
  await writeTree(dir.path, { "bin/bento": { executable: program }, "empty/.keep": "", "some.file": "" });
  for (const shell of shells) {
    const { stdout, status } = await bento(["completion", shell]);
    expect(status).toBe(0);
    await writeTree(dir.path, { [`completion.${shell}`]: stdout });
  }
});

afterAll(async () => {
  await dir?.[Symbol.asyncDispose]();
});

/** Types lines into a shell, and gives what was run for each. */
async function typed(shell: keyof typeof SHELLS, lines: readonly string[]): Promise<string[]> {
  const { start: words, setUp } = SHELLS[shell];
  const input = new PassThrough();
  const running = start("script", ["-qec", words.join(" "), "/dev/null"], {
    cwd: dir.path,
    env: { PATH: `${dir.path}/bin:${process.env.PATH}`, TERM: "dumb", HOME: dir.path, PS1: "> ", COLUMNS: "500" },
    input,
  });
  let output = "";
  const said = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (!output.includes(text)) return;
        running.child.stdout?.off("data", look);
        resolve();
      };
      running.child.stdout?.on("data", look);
      running.done.then(() => reject(new Error(`${shell} ended:\n${output}`)), reject);
      look();
    });
  running.child.stdout?.on("data", (data) => {
    output += data;
  });
  // Each in two halves, so that what is typed isn't what is waited for.
  input.write(`${setUp}; echo rea""dy\n`);
  await said("ready");
  for (const [index, line] of lines.entries()) {
    input.write(`${line}\t\n`);
    input.write(`echo do""ne-${index}.\n`);
    await said(`done-${index}.`);
  }
  input.end("exit\n");
  await running.done;
  return [...output.matchAll(/ran: (.*?)\/?> end/g)].map((match) => `${match[1]}>`);
}

const TYPED: [string, string][] = [
  ["bento roll", "<rollback>"],
  ["bento secret rek", "<secret> <rekey>"],
  ["bento server ch", "<server> <check>"],
  ["bento deploy --dry", "<deploy> <--dry-run>"],
  // What an option takes is no command, and the option before it is none either.
  ["bento --fleet host stat", "<--fleet> <host> <status>"],
  ["bento bootstrap ro", "<bootstrap> <router>"],
  ["bento status --hosts na", "<status> <--hosts> <nas>"],
  ["bento build --roots emp", "<build> <--roots> <empty>"],
  ["bento report some", "<report> <some.file>"],
];

describe.each(shells)("%s", (shell) => {
  test.runIf(here[shells.indexOf(shell)])("completes", async () => {
    expect(
      await typed(
        shell,
        TYPED.map(([line]) => line),
      ),
    ).toEqual(TYPED.map(([, ran]) => ran));
  });
});

test("in bash, the last of several hosts", async () => {
  expect(await typed("bash", ["bento check --hosts nas,rout"])).toEqual(["<check> <--hosts> <nas,router>"]);
});

test("shellcheck finds nothing in bash's", async () => {
  expect((await exec("shellcheck", ["--shell=bash", path.join(dir.path, "completion.bash")])).stdout).toBe("");
});

test("hosts are those of the fleet here; where there is none, nothing is completed", async () => {
  expect((await bento(["completion", "hosts"], { cwd: packageRoot() })).stdout).toBe("nas\nrouter\nt470\nx1\n");
  expect(await bento(["completion", "hosts"], { cwd: "/" })).toMatchObject({ status: 2, stdout: "" });
  expect((await bento(["completion", "tcsh"])).stderr).toBe(
    "error: there is no completion for 'tcsh'\n→ there is one for bash, zsh, fish\n",
  );
});
