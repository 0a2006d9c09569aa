import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Upload } from "../../src/publish/publisher.ts";
import { kill } from "../support/programs.ts";
import type { World } from "../support/world.ts";
import type { Deployment } from "./deployer.ts";

const DEPLOYER = path.join(import.meta.dirname, "deployer.ts");

export type DeployerOptions = Partial<Omit<Deployment, "server" | "key" | "uploads">>;

export interface Deployer extends AsyncDisposable {
  readonly pid: number;
  /** The next line that it says, undefined at its end. */
  line(): Promise<string | undefined>;
  /** Its last word, when it has ended: each host's failure or null, or `error` and `exitStatus`. */
  result(): Promise<Record<string, unknown>>;
  /** Its exit status; 128 and the signal's number when a signal ended it. */
  status(): Promise<number>;
  /** Lets it go on that waits with the lock in its hands. */
  goOn(): void;
}

/** A deploy in a process of its own. */
export async function startDeployer(
  world: World,
  uploads: readonly Upload[],
  options: DeployerOptions = {},
): Promise<Deployer> {
  const { serverSettings: server, publisherKey } = world;
  const deployment: Deployment = { server, key: publisherKey.file, owner: "a child", uploads, ...options };
  const child = spawn(process.execPath, [DEPLOYER, JSON.stringify(deployment)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.on("error", () => {});
  const ended = once(child, "close");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => (await lines.next()).value as string | undefined;
  return {
    pid: child.pid ?? 0,
    line,
    result: async () => {
      for (let text = await line(); text !== undefined; text = await line()) {
        if (!text.startsWith("{")) continue;
        // It gives its lock back after its last word.
        await ended;
        return JSON.parse(text);
      }
      throw new Error(`the deploy of ${deployment.owner} has ended without a result`);
    },
    status: async () => {
      const [status, signal] = await ended;
      return status ?? (signal === "SIGKILL" ? 137 : 128);
    },
    goOn: () => child.stdin.end(),
    [Symbol.asyncDispose]: async () => {
      kill([child.pid ?? 0]);
      await ended;
    },
  };
}
