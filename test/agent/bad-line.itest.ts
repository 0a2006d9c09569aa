import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Link, type LinkOptions, type Trouble } from "../support/link.ts";
import { long } from "../support/long.ts";
import { kill } from "../support/programs.ts";
import { Swept } from "../support/swept.ts";

/** Releases that come, and reports that go, over a line as it is in the country: long, and bad. */
let swept: Swept;
beforeAll(async () => {
  swept = await Swept.make();
});
afterAll(async () => {
  kill(swept?.running() ?? []);
  await swept?.[Symbol.asyncDispose]();
});

/** Both servers, as the machine has them, behind a line of this kind until the scope ends. */
async function behind(options: LinkOptions) {
  const file = swept.machine.path("etc/bento.json");
  const text = await readFile(file, "utf8");
  const settings = JSON.parse(text) as { server: { port: number }; git: { remote: string } };
  const remote = new URL(settings.git.remote);
  await using links = new AsyncDisposableStack();
  const server = links.use(await Link.to(settings.server.port, options));
  const git = links.use(await Link.to(Number(remote.port), options));
  settings.server.port = server.port;
  remote.port = String(git.port);
  settings.git.remote = remote.href;
  await writeFile(file, `${JSON.stringify(settings, null, 2)}\n`);
  links.defer(() => writeFile(file, text));
  const kept = links.move();
  return {
    troubled: () => server.troubled + git.troubled,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Numbers from 0 to 1, the same each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe.each(["sftp", "git"] as const)("%s", (name) => {
  long("a line of 100 ms in each direction: one attempt, told once", async () => {
    const way = swept.ways[name];
    const commit = await swept.publish(way);
    await using _line = await behind({ delay: 100 });
    const { status, stderr } = await swept.agent(way, { BENTO_CONFIRM_TIMEOUT: "60" });
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(status).toBe(0);
    expect(await swept.outcomesOf(commit)).toEqual(["success"]);
    await swept.converges(way, commit);
  });

  long(
    "a line on which every other connection ends, or falls silent, somewhere: the machine comes to its release, and tells it once",
    async () => {
      const way = swept.ways[name];
      const next = random(20_261_127);
      const trouble = (): Trouble | undefined => {
        const [isTroubled, bytes, how] = [next() < 0.5, Math.ceil(next() * 12_000), next() < 0.25];
        return isTroubled ? { bytes, how: how ? "silence" : "cut" } : undefined;
      };
      const settings = { BENTO_CONFIRM_TIMEOUT: "120", BENTO_POLL_TIMEOUT: "8", BENTO_FETCH_SILENCE: "8" };
      const releases = process.env.BENTO_TEST_ALL === "1" ? 3 : 1;
      for (let release = 0; release < releases; release++) {
        const commit = await swept.publish(way);
        const said: string[] = [];
        {
          await using line = await behind({ delay: 20, trouble });
          for (let run = 0; run < 40; run++) {
            const { status, stderr } = await swept.agent(way, settings);
            said.push(`${status}: ${stderr}`);
            if (/^up to date with release \d+\n$/.test(stderr)) break;
          }
          expect(line.troubled(), said.join("")).toBeGreaterThan(0);
        }
        const text = said.join("");
        expect(said.at(-1), text).toMatch(/^0: up to date/);
        expect(swept.number(), text).toBe(String(swept.releases));
        // It was never the release's fault.
        expect(await swept.machine.state("bad.json"), text).toBeUndefined();
        // A report that could not be delivered is, over a better line.
        // One that fell silent within an archive has been told, and why.
        await swept.converges(way, commit, { harmless: /^failed$/ });
        for (const { outcome, reason } of await swept.reportsOf(commit)) {
          if (outcome === "failed")
            expect(reason, text).toMatch(/^it could not be fetched: nothing more has come for 8 s/);
        }
      }
    },
    1_200_000,
  );
});

/** A comment that makes a release so large, and can't be compressed any further. */
const large = (bytes: number) => `# ${randomBytes(bytes).toString("base64")}\n`;

/** It was ended, nothing of it runs any more, and it isn't held against the release: the next attempt takes it. */
async function isTriedAgain(commit: string, reason: RegExp): Promise<void> {
  expect(swept.running()).toEqual([]);
  const [report] = await swept.reportsOf(commit);
  expect(report).toMatchObject({ outcome: "failed", reason: expect.stringMatching(reason) });
  expect(await swept.machine.state("retry.json")).toMatchObject({ failures: 1 });
  expect(await swept.machine.state("bad.json")).toBeUndefined();
}

describe("what doesn't get on", () => {
  const { sftp, git } = { sftp: () => swept.ways.sftp, git: () => swept.ways.git };

  long("a line so slow that a release takes longer than any silence would be suffered: it comes", async () => {
    const commit = await swept.publish(sftp(), large(200_000));
    await using _line = await behind({ rate: 15_000 });
    const begun = performance.now();
    const { status, stderr } = await swept.agent(sftp(), { BENTO_FETCH_SILENCE: "8", BENTO_CONFIRM_TIMEOUT: "60" });
    expect(status, stderr).toBe(0);
    expect(performance.now() - begun).toBeGreaterThan(10_000);
    await swept.converges(sftp(), commit);
  });

  test("sftp: a server that stops within an archive, and still answers for its connection", async () => {
    const commit = await swept.publish(sftp(), large(400_000));
    const archive = swept.machine.path("state/.archive.new");
    {
      await using _line = await behind({ rate: 100_000 });
      const attempt = swept.machine.startAgent(swept.run(sftp(), { BENTO_FETCH_SILENCE: "8" }).env);
      await vi.waitFor(async () => expect((await stat(archive)).size).toBeGreaterThan(0), {
        timeout: 20_000,
        interval: 5,
      });
      const stopped = swept.world.server.sessions().slice(-1);
      kill(stopped, "SIGSTOP");
      const { status, stderr } = await attempt.done;
      kill(stopped);
      expect(stderr).toMatch(/\nfailed: it could not be fetched: nothing more has come for 8 s\n$/);
      expect(status).toBe(1);
    }
    expect(existsSync(archive)).toBe(false);
    await isTriedAgain(commit, /^it could not be fetched: nothing more has come for 8 s$/);
    await swept.converges(sftp(), commit, { harmless: /^failed$/ });
  });

  long("git: a server that stops within a pack: the poll is ended, and the next one gets all of it", async () => {
    const commit = await swept.publish(git(), large(400_000));
    const [settings, hook] = ["git/.gitconfig", "git/stops"].map((name) => path.join(swept.world.dir, name));
    await writeFile(hook ?? "", `#!/bin/sh\n"$@" | { head -c 200000; exec sleep 1000; }\n`, { mode: 0o755 });
    await writeFile(settings ?? "", `[uploadpack]\n\tpackObjectsHook = ${hook}\n`);
    const { status, stderr } = await swept.agent(git(), { BENTO_FETCH_SILENCE: "3" });
    expect(stderr).toBe("no contact: no answer within 3 s\n");
    expect(status).toBe(75);
    expect(swept.running()).toEqual([]);
    await rm(settings ?? "");
    await swept.converges(git(), commit);
  });

  test("a build that waits for what never comes", async () => {
    const pid = swept.machine.path("etc/builder");
    const waits = `derivation {
      name = "waits"; system = builtins.currentSystem; builder = "/bin/sh";
      args = [ "-c" "echo $$ > ${pid}; echo waiting for a licence; exec /bin/sleep 1000" ];
    }`;
    const commit = await swept.publish(sftp(), `environment.systemPackages = [ (${waits}) ];`);
    const settings = { BENTO_BUILD_SILENCE: "3" };
    const built = await swept.agent(sftp(), settings);
    expect(built.stderr).toMatch(
      /\nfailed: its build was ended: for 3 s it has said nothing .* after: waiting for a licence\n$/,
    );
    expect(existsSync(`/proc/${(await readFile(pid, "utf8")).trim()}`)).toBe(false);
    await isTriedAgain(commit, /^its build was ended: for 3 s it has said nothing/);

    await swept.converges(sftp(), await swept.publish(sftp()));
  });
});
