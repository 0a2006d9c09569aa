import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { InterruptedError, UnavailableError, UnreachableError } from "../../errors.ts";
import type { Server } from "../../fleet/fleet.ts";
import { ConnectionLostError } from "./error.ts";

/** Milliseconds for a connection, and for a login. */
export const CONNECT_TIMEOUT = 20_000;

/** A connection to the server's port. @throws UnreachableError that says why there is none. */
export async function connectSocket(server: Server, signal: AbortSignal): Promise<net.Socket> {
  const where = `${server.address}:${server.port}`;
  // Nagle's algorithm costs a round trip for every small request.
  const socket = net.connect({ host: server.address, port: server.port, noDelay: true });
  try {
    await once(socket, "connect", { signal: AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT)]) });
    return socket;
  } catch (cause) {
    socket.destroy();
    if (signal.aborted) throw new InterruptedError();
    const { code } = cause as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ECONNREFUSED: "nothing listens there",
      ENOTFOUND: "there is no such name",
      EAI_AGAIN: "the name could not be looked up",
      EHOSTUNREACH: "there is no route to it",
      ENETUNREACH: "there is no network",
      ABORT_ERR: `no answer within ${CONNECT_TIMEOUT / 1000} s`,
    };
    throw new UnreachableError(`can't reach the server ${where}: ${reasons[code ?? ""] ?? code}`, {
      hint: "server.address and server.port in fleet.yaml say where it is",
      cause,
    });
  }
}

/** Why a login failed. `received` is the fingerprint of the host key that the server showed. */
export function connectionError(server: Server, received: string | undefined, cause: unknown): UnavailableError {
  const where = `${server.address}:${server.port}`;
  const text = cause instanceof Error ? cause.message : String(cause);
  const pinned = server.hostKeys.map((key) => fingerprint(blobOf(key)));
  if (received !== undefined && !pinned.includes(received)) {
    return new UnavailableError(
      `${where} showed another host key than the pinned one: expected ${pinned.join(" or ")}, got ${received}`,
      {
        hint: "if the server's key was really changed, put the new one into server.hostKeys; if not, somebody is in between",
        cause,
      },
    );
  }
  if (/no matching host key|handshake.*host key/i.test(text)) {
    return new UnavailableError(`${where} has no host key of the pinned types`, {
      hint: "see server.hostKeys in fleet.yaml",
      cause,
    });
  }
  if (/authentication methods failed/i.test(text)) {
    return new UnavailableError(`${where} refused the login '${server.user}' with the publisher's key`, {
      hint: "its public half must be in server.publishers, and the server set up from the current fleet.json",
      cause,
    });
  }
  return new ConnectionLostError(`no sftp connection to ${server.user}@${where}: ${text}`, { cause });
}

/** A public key's own bytes. */
export function blobOf(publicKey: string): Buffer {
  return Buffer.from(publicKey.split(" ")[1] ?? "", "base64");
}

/** As ssh-keygen -l prints it. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

type HostKeyAlgorithm =
  | "ssh-ed25519"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521"
  | "rsa-sha2-512"
  | "rsa-sha2-256";

/** Only what is pinned is asked for: a server that also has a key of another type mustn't show that one. */
export function hostKeyAlgorithms(keys: readonly string[]): HostKeyAlgorithm[] {
  const types = new Set(keys.map((key) => key.split(" ")[0]));
  const algorithms: HostKeyAlgorithm[] = [];
  for (const type of ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"] as const) {
    if (types.has(type)) algorithms.push(type);
  }
  if (types.has("ssh-rsa")) algorithms.push("rsa-sha2-512", "rsa-sha2-256");
  return algorithms;
}
