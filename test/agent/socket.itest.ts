import { chmod, chown, cp, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { Hold } from "../support/hold.ts";
import { Listener } from "../support/listener.ts";
import type { Machine } from "../support/machine.ts";
import { kill, type Running, start } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

/** Somebody who isn't root: nobody, as a member of the group users, or not. */
const NOBODY = 65_534;
const USERS = 100;

let world: World;
let machine: Machine;
let listener: Listener;
let socket: string;
beforeAll(async () => {
  world = await World.make({ hosts: ["desk"] });
  machine = await world.machine("desk");
  // A clone may lie where nobody else can look.
  await cp(path.join(packageRoot(), "utils/agent"), path.join(world.dir, "agent"), { recursive: true });
  socket = machine.path("agent.sock");
  // As systemd names the instance: the third connection, of process 1234, of the user.
  listener = await Listener.start(machine, [socket], ["serve", `3-1234-${NOBODY}`]);
  await chown(socket, 0, USERS);
  await chmod(socket, 0o660);
});
afterAll(async () => {
  await listener?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** bento-agent as somebody runs it at a shell. */
function startAs(groups: string, ...args: string[]): Running {
  const who = ["--reuid", String(NOBODY), "--regid", String(NOBODY), groups];
  return start("setpriv", [...who, "bash", path.join(world.dir, "agent/bento-agent"), ...args], {
    env: { ...machine.env, BENTO_SOCKET: socket },
  });
}

const member = (...args: string[]) => startAs(`--groups=${USERS}`, ...args).done;

/** What the socket answers to these bytes. */
async function ask(bytes: string | Buffer): Promise<string> {
  const connection = net.connect({ path: socket, allowHalfOpen: true });
  let answer = "";
  connection.on("data", (data) => {
    answer += data;
  });
  // Where not all of it was read, the connection is cut after the answer.
  connection.on("error", () => {});
  connection.on("end", () => connection.destroy());
  connection.end(bytes);
  await new Promise((resolve) => connection.on("close", resolve));
  return answer;
}

test("a member of the group starts an upgrade, and sees what it does while it does it", async () => {
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("desk", channelHost("desk", 'environment.etc."a" = "1";'));
  const upgrade = startAs(`--groups=${USERS}`, "upgrade");
  let output = "";
  upgrade.child.stdout?.on("data", (data) => {
    output += data;
  });
  await hold.reached();
  await vi.waitFor(() => expect(output).toMatch(new RegExp(`activating ${manifest.toplevel}\n`)), { timeout: 30_000 });
  expect(output).not.toContain("success");

  // Others see the same attempt; one of them leaves early.
  const other = startAs(`--groups=${USERS}`, "upgrade");
  const leaving = startAs(`--groups=${USERS}`, "log", "-f");
  // From the start, since what has come already doesn't come again.
  await Promise.all([other, leaving].map(({ child }) => new Promise((resolve) => child.stdout?.once("data", resolve))));
  kill([leaving.pid]);
  await hold.letGo();
  expect(await upgrade.done).toMatchObject({ status: 0, stdout: expect.stringMatching(/ success\n$/) });
  expect(await other.done).toMatchObject({ status: 75, stdout: expect.stringMatching(/ success\n$/) });
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await world.outcomes("desk")).toEqual(["success"]);

  const again = await member("upgrade");
  expect(again).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\S+ up to date with release \d+\n$/) });
  expect((await member("history")).stdout).toMatch(/^1 {2}\S+ {2}success /);
  expect((await member("log", "1")).stdout).toContain("confirmation 1 of 1");
});

test("a member suspends and resumes upgrades; the reason is a text, whatever is in it", async () => {
  const reason = "we're $(touch /tmp/x) `id` \u0007 ; away";
  const suspended = await member("suspend", "--for", "2w", "--reason", reason);
  expect(suspended.stdout).toMatch(
    /^upgrades are suspended until \S+Z by nobody: we're \$\(touch \/tmp\/x\) `id` ; away;/,
  );
  expect(suspended.status).toBe(0);
  const upgrade = await member("upgrade");
  expect(upgrade).toMatchObject({ status: 0, stdout: expect.stringContaining("upgrades are suspended until") });
  const status = JSON.parse((await member("status", "--json")).stdout);
  expect(status).toMatchObject({ host: "desk", suspended: { by: "nobody" } });
  expect(await member("resume")).toMatchObject({ status: 0, stdout: "upgrades go on with the next poll\n" });
  await member("suspend", "--reason", "é".repeat(1000));
  expect((await member("status")).stdout).toMatch(/upgrades are suspended by nobody: é{150}/);
  expect((await member("resume")).status).toBe(0);
});

test("who isn't a member is told who is; going back is root's", async () => {
  const stranger = await startAs("--clear-groups", "status").done;
  expect(stranger).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("the group users") });
  expect(await member("rollback", "-y")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("sudo bento-agent rollback"),
  });
  expect(await member("upgrade", "--again")).toMatchObject({
    status: 2,
    stdout: "bento-agent: trying a release again is root's: sudo bento-agent upgrade --again\n",
  });
  expect(await ask("rollback -y\n")).toMatch(/is root's: sudo bento-agent rollback\nexit 2\n$/);
  socket = machine.path("nowhere.sock");
  try {
    expect(await member("status")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("services.bento.local"),
    });
  } finally {
    socket = machine.path("agent.sock");
  }
});

test("whatever comes in, nothing else can be asked for", async () => {
  // One that says nothing is not waited for.
  const silent = net.connect(socket);
  const silence = text(silent);
  const before = await machine.state("last.json");
  await writeFile(machine.path("state/secret"), "do not show");
  for (const request of [
    "",
    "\n",
    "   \n",
    "status",
    "frobnicate\n",
    "upgrade now\n",
    "upgrade; touch x\n",
    "upgrade\r\n",
    "upgrade\u0000\u0001\n",
    "status --json --json\n",
    "status --yaml\n",
    "log ../secret\n",
    "log -n\n",
    "log 1 2\n",
    "log *\n",
    "suspend\n",
    "suspend 3days\n",
    "suspend --for 3d\n",
    "suspend -1d\n",
    "serve 1\n",
    "page\n",
    "GET / HTTP/1.1\r\n\r\n",
    `status ${"-".repeat(100_000)}\n`,
    "x".repeat(511),
    "\u001b]0;\u0007\n",
  ]) {
    const answer = await ask(request);
    expect(answer, request.slice(0, 40)).toMatch(/^(bento-agent: [ -~]+\nexit 2\n)?$/);
    if (request.length < 100) expect(answer, request).toContain("exit 2");
  }
  expect(await ask(Buffer.from([0xff, 0xfe, 0x80, 0x0a]))).toContain("exit 2");
  expect(await machine.state("last.json")).toEqual(before);
  expect(await machine.state("suspended.json")).toBeUndefined();
  // Of two lines the second one is nobody's.
  expect(await ask("resume\nsuspend forever\n")).toBe("upgrades were not suspended\nexit 0\n");
  expect(await machine.state("suspended.json")).toBeUndefined();
  expect(await silence).toContain("exit 2");
});
