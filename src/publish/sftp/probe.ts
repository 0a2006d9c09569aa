import { randomUUID } from "node:crypto";
import type { Client } from "ssh2";

/** Milliseconds after which a server that doesn't answer what it should refuse is taken to have refused it. */
const PATIENCE = 10_000;
/** The reason of a refused channel when the server tried, and nobody listened: then it was willing. */
const CONNECT_FAILED = 2;

/** Whether the server runs a command for this login: then it has a shell. */
export async function runsCommands(client: Client): Promise<boolean> {
  const token = randomUUID();
  return answer((done) => {
    client.exec(`echo ${token}`, (error, channel) => {
      if (error) return done(false);
      let output = "";
      channel.on("data", (data: Buffer) => {
        output = (output + data.toString("latin1")).slice(-4096);
        if (output.includes(token)) done(true);
      });
      channel.on("close", () => done(false));
      // internal-sftp, in the command's place, ends when nothing more comes.
      channel.end();
    });
  });
}

/** Whether the server connects this login to a port of the server's own. */
export async function forwards(client: Client): Promise<boolean> {
  return answer((done) => {
    // Nothing should listen on that one; what counts is whether the server tries.
    client.forwardOut("127.0.0.1", 0, "127.0.0.1", 1, (error, channel) => {
      if (!error) channel.destroy();
      done(!error || (error as Error & { reason?: number }).reason === CONNECT_FAILED);
    });
  });
}

async function answer(ask: (done: (value: boolean) => void) => void): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const patience = setTimeout(() => resolve(false), PATIENCE);
  ask(resolve);
  return promise.finally(() => clearTimeout(patience));
}
