import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { succeed } from "../../test/support/programs.ts";

export interface Link extends AsyncDisposable {
  /** Where this machine is at its other end. */
  address: string;
}

/** This machine itself, without a link in between. */
export const LOOPBACK: Link = { address: "127.0.0.1", [Symbol.asyncDispose]: () => Promise.resolve() };

/** A device whose other end is this machine again, `delay` milliseconds of round trip away: see link.c. */
export async function slowLink(scratch: string, delay: number): Promise<Link> {
  const name = `slow-${delay}`;
  const program = path.join(scratch, "link");
  await succeed("cc", ["-O2", "-o", program, path.join(import.meta.dirname, "link.c")]);
  const child = spawn(program, [name, String(delay * 500)], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "close");
  const [line] = await Promise.race([once(child.stdout, "data"), ended]);
  if (String(line) !== "ready\n") throw new Error("there is no slow link without TUN devices");
  await succeed("ip", ["address", "add", "192.0.2.1/24", "dev", name]);
  // A queue that is long enough for everything that is sent at once: no packet is to be lost here.
  await succeed("ip", ["link", "set", name, "up", "mtu", "1500", "txqueuelen", "20000"]);
  return {
    address: "192.0.2.2",
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

/** Milliseconds that connecting takes, at best of five: one round trip. */
export async function roundTrip(address: string, port: number): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < 5; n++) {
    const started = performance.now();
    const socket = net.connect(port, address);
    await once(socket, "connect");
    times.push(performance.now() - started);
    socket.destroy();
  }
  return Math.min(...times);
}
