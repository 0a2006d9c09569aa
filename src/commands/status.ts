import { availableParallelism } from "node:os";
import { FleetError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { parallel } from "../platform/parallel.ts";
import type { Current, HostReports, StatusSource } from "../publish/publisher.ts";
import { Publishers } from "../publish/publishers.ts";
import { SftpPublisher } from "../publish/sftp.ts";
import { open as openEnvelope } from "../release/envelope.ts";
import { openPrivateKey } from "../release/keys.ts";
import { statusOfLogs } from "../reports/logs.ts";
import { parseHeartbeat, parseReport } from "../reports/schema.ts";
import { lastContact, stateOf } from "../reports/state.ts";
import type { HostStatus, StatusDocument } from "../results.ts";
import type { Context } from "./context.ts";
import { describeKey, keysFromEnvironment, PUBLISHER_KEY } from "./keys.ts";
import { waysOut } from "./ways-out.ts";

export interface StatusOptions {
  fleet: string;
  hosts: readonly string[];
}

/**
 * Says how each host is, from what is published for it and what it reported. Needs no Nix, and changes nothing.
 * @throws FleetError, UnavailableError; what can't be read of a single host makes its state `unknown`.
 */
export async function status(context: Context, options: StatusOptions): Promise<StatusDocument> {
  // 1. Whom to ask for what.
  const fleet = await loadFleet(options.fleet);
  const { server, signers } = fleet;
  if (server === null && fleet.git === null)
    throw new FleetError("fleet.yaml has no server to ask for reports", { hint: "see 'server' in the README" });
  const selected = selectHosts(
    fleet.hosts.filter((host) => host.declared),
    options.hosts,
  );

  // 2. What is published, and what hosts said, all at once; and what it means.
  if (server === null) return document(await statusesInGit(context, fleet, selected));
  const [source] = keysFromEnvironment(context.env, PUBLISHER_KEY);
  await using key = await openPrivateKey(source, describeKey(PUBLISHER_KEY));
  await using publisher = await SftpPublisher.connect(server, key, {
    signal: context.signal,
    say: context.output.info,
  });
  return document(await statusesOf(publisher, selected, signers));
}

/** A fleet on git alone: hosts read there, and have nowhere to write to. */
async function statusesInGit(context: Context, fleet: Fleet, hosts: readonly Host[]): Promise<HostStatus[]> {
  await using ways = await waysOut(context, fleet);
  await using publishers = await Publishers.open(ways.list);
  return await statusesOf(publishers.statusSource, hosts, fleet.signers);
}

function document(hosts: HostStatus[]): StatusDocument {
  return { version: 1, command: "status", hosts };
}

/** How hosts are, in their order. */
export async function statusesOf(
  source: StatusSource,
  hosts: readonly Host[],
  signers: readonly string[],
): Promise<HostStatus[]> {
  const names = hosts.filter((host) => host.key !== null).map((host) => host.name);
  const [current, reports] = await Promise.all([source.readCurrent(names), source.readReports(names)]);
  return parallel(hosts, availableParallelism(), (host) =>
    hostStatus(host, current.get(host.name), reports.get(host.name), signers),
  );
}

async function hostStatus(
  host: Host,
  current: Current | undefined,
  reports: HostReports | undefined,
  signers: readonly string[],
): Promise<HostStatus> {
  const nothing: HostStatus = {
    name: host.name,
    state: "unknown",
    reason: null,
    published: null,
    running: null,
    lastContact: null,
    lastOutcome: null,
  };
  if (current === undefined || reports === undefined) {
    return { ...nothing, state: "new", reason: "it has no key in fleet.yaml yet" };
  }
  if (current.state === "failed") return { ...nothing, reason: current.error.message };
  const opened = current.state === "missing" ? null : await openEnvelope(current.envelope, host.name, signers);
  if (opened?.ok === false) return { ...nothing, reason: `what is published can't be trusted: ${opened.problem}` };
  const manifest = opened?.manifest ?? null;
  const published = manifest && {
    sequence: manifest.sequence,
    commit: manifest.commit,
    subject: manifest.subject,
    toplevel: manifest.toplevel,
    issued: manifest.issued,
  };
  if (reports.state === "failed") return { ...nothing, published, reason: reports.error.message };
  if (reports.state === "logs") {
    const { logs, changed, serverTime: now } = reports;
    return { name: host.name, published, ...statusOfLogs({ published: manifest, logs, changed, now }) };
  }

  const said = reports.state === "read" ? reports : null;
  const heartbeat = said?.heartbeat && parseHeartbeat(said.heartbeat.text, host.name);
  const report = said?.report && parseReport(said.report.text, host.name);
  if ((said?.heartbeat && !heartbeat) || (said?.report && !report)) {
    return { ...nothing, published, reason: "what it reported can't be understood" };
  }
  const known = {
    published: manifest,
    heartbeat: said?.heartbeat && heartbeat ? { content: heartbeat, received: said.heartbeat.modified } : null,
    report: said?.report && report ? { content: report, received: said.report.modified } : null,
    now: said?.serverTime ?? Date.now(),
  };
  const contact = lastContact(known);
  return {
    name: host.name,
    ...stateOf(known),
    published,
    running: heartbeat?.running ? { toplevel: heartbeat.running, sequence: heartbeat.sequence } : null,
    lastContact: contact === null ? null : new Date(contact).toISOString(),
    lastOutcome: report?.outcome ?? null,
  };
}
