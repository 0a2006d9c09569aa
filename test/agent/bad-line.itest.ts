import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
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
  const run = name === "sftp" ? test : long;

  run("a line of 100 ms in each direction: one attempt, told once", async () => {
    const way = swept.ways[name];
    const commit = await swept.publish(way);
    await using _line = await behind({ delay: 100 });
    const { status, stderr } = await swept.agent(way, { BENTO_CONFIRM_TIMEOUT: "60" });
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(status).toBe(0);
    expect(await swept.outcomesOf(commit)).toEqual(["success"]);
    await swept.converges(way, commit);
  });

  run(
    "a line on which every other connection ends, or falls silent, somewhere: the machine comes to its release, and tells it once",
    async () => {
      const way = swept.ways[name];
      const next = random(20_261_127);
      const trouble = (): Trouble | undefined => {
        const [isTroubled, bytes, how] = [next() < 0.5, Math.ceil(next() * 12_000), next() < 0.25];
        return isTroubled ? { bytes, how: how ? "silence" : "cut" } : undefined;
      };
      const settings = { BENTO_CONFIRM_TIMEOUT: "120", BENTO_POLL_TIMEOUT: "8", BENTO_FETCH_TIMEOUT: "8" };
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
        await swept.converges(way, commit);
        expect(await swept.outcomesOf(commit), text).toEqual(["success"]);
      }
    },
    1_200_000,
  );
});
