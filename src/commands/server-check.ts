import { readFile } from "node:fs/promises";
import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { serverFindings } from "../publish/server-findings.ts";
import { inspect } from "../publish/sftp/inspect.ts";
import { SftpSession, SILENCE } from "../publish/sftp/session.ts";
import { openPrivateKey } from "../release/keys.ts";
import type { ServerCheckDocument } from "../results.ts";
import type { Context } from "./context.ts";
import { describeKey, keysFromEnvironment, PUBLISHER_KEY } from "./keys.ts";

export interface ServerCheckOptions {
  fleet: string;
}

/**
 * Says what is wrong with the fleet's server, as far as the publisher can see it; utils/server/check sees more, on the server
 * itself. Changes nothing.
 * @throws FleetError, UnavailableError
 */
export async function serverCheck(context: Context, options: ServerCheckOptions): Promise<ServerCheckDocument> {
  // 1. What ought to be there.
  const fleet = await loadFleet(options.fleet);
  const { server } = fleet;
  if (server === null)
    throw new FleetError("fleet.yaml has no server to check", { hint: "see 'server' in the README" });
  const declared = fleet.hosts.filter((host) => host.declared);
  const hosts = declared.filter((host) => host.key !== null).map((host) => host.name);
  const others = declared.filter((host) => host.key === null).map((host) => host.name);
  const [source] = keysFromEnvironment(context.env, PUBLISHER_KEY);
  await using key = await openPrivateKey(source, describeKey(PUBLISHER_KEY));

  // 2. What is there, and what that means.
  const { signal } = context;
  const privateKey = await readFile(key.file);
  await using session = await SftpSession.connect({ server, privateKey, signal, silence: SILENCE });
  const findings = serverFindings(await inspect(session, hosts, server.tree), others, Date.now());
  const failed = new Set(findings.map(({ host }) => host));
  return {
    version: 1,
    command: "server check",
    findings,
    hosts: hosts.map((name) => ({ name, status: failed.has(name) ? "failed" : "ok" })),
  };
}
