/**
 * A deploy in a process of its own, for tests that end or stop it. Told what to do by one JSON document, its argument; prints a
 * line when it has the lock, and one at the end. With `pause` it waits, when it has the lock, for its standard input to end.
 * `signal` is sent to itself just before the `at`-th SFTP request, or just after it was sent.
 */
import { text } from "node:stream/consumers";
import type { Server } from "../../src/fleet/fleet.ts";
import type { Upload } from "../../src/publish/publisher.ts";
import { SftpRequests } from "../../src/publish/sftp/requests.ts";
import { SftpPublisher } from "../../src/publish/sftp.ts";
import { openPrivateKey } from "../../src/release/keys.ts";

export interface Deployment {
  server: Server;
  key: string;
  owner: string;
  uploads: readonly Upload[];
  wait?: number;
  lockTimeToLive?: number;
  pause?: boolean;
  signal?: { name: NodeJS.Signals; at: number; when: "before" | "after"; request?: string };
}

const deployment: Deployment = JSON.parse(process.argv[2] ?? "");

/** Calls `tell` before and after each request. */
function watchRequests(tell: (when: "before" | "after", request: string, args: unknown[]) => void): void {
  const methods = SftpRequests.prototype as unknown as Record<string, (...args: unknown[]) => unknown>;
  for (const name of Object.getOwnPropertyNames(methods)) {
    const method = methods[name];
    if (name === "constructor" || method === undefined) continue;
    methods[name] = function (this: unknown, ...args: unknown[]) {
      tell("before", name, args);
      const answer = method.apply(this, args);
      tell("after", name, args);
      return answer;
    };
  }
}

const { signal } = deployment;
let count = 0;
if (signal) {
  watchRequests((when, request) => {
    if (signal.request !== undefined && signal.request !== request) return;
    if (when === "before") count += 1;
    if (count !== signal.at || when !== signal.when) return;
    if (signal.name === "SIGSTOP") process.stdout.write("stopped\n");
    process.kill(process.pid, signal.name);
  });
}

try {
  await using key = await openPrivateKey({ file: deployment.key }, "the publisher's key");
  await using publisher = await SftpPublisher.connect(deployment.server, key, {
    signal: new AbortController().signal,
    ...(deployment.lockTimeToLive === undefined ? {} : { lockTimeToLive: deployment.lockTimeToLive }),
  });
  let isWaiting = false;
  const hosts = deployment.uploads.map(({ host }) => host);
  const [, current] = await Promise.all([
    publisher.lock(deployment.owner, {
      wait: deployment.wait ?? 0,
      onWait: (holder) => {
        if (!isWaiting) process.stdout.write(`waiting for ${holder.replace(/ .*/, "")}\n`);
        isWaiting = true;
      },
    }),
    publisher.readCurrent(hosts),
  ]);
  process.stdout.write("locked\n");
  if (deployment.pause) await text(process.stdin);
  // What is there already is left alone, as a deploy does.
  const needed = deployment.uploads.filter(({ host, envelope }) => {
    const state = current.get(host);
    return state?.state !== "present" || state.envelope !== envelope;
  });
  const failures = await publisher.publish(needed);
  process.stdout.write(`${JSON.stringify(Object.fromEntries(failures))}\n`);
} catch (error) {
  const { message, exitStatus } = error as Error & { exitStatus?: number };
  process.stdout.write(`${JSON.stringify({ error: message, exitStatus: exitStatus ?? null })}\n`);
  process.exitCode = exitStatus ?? 70;
}
// How many requests there were in all, for those who want to end one at each.
if (signal) process.stdout.write(`requests ${count}\n`);
