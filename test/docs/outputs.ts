import { serverFindings } from "../../src/publish/server-findings.ts";
import type { ServerView } from "../../src/publish/sftp/inspect.ts";
import { renderCheck } from "../../src/render/check.ts";
import { renderDiff } from "../../src/render/diff.ts";
import { renderFlakeUpdate } from "../../src/render/flake-update.ts";
import { renderServerCheck } from "../../src/render/server-check.ts";
import { renderStatus } from "../../src/render/status.ts";
import { painter } from "../../src/render/terminal.ts";
import { renderTrigger } from "../../src/render/trigger.ts";
import type { HostCheck, HostStatus, LockedInput } from "../../src/results.ts";

const paint = painter(false);
const NOW = Date.parse("2026-11-25T12:00:00Z");

/** What the pages show of commands, as those would print it today. By what it is of. */
export function shown(): Map<string, string> {
  return new Map([
    ["the first check of a tutorial's fleet", firstCheck()],
    ["a server that is as it should be", serverCheck([])],
    ["a server that isn't", serverCheck(serverFindings(serverView(), [], NOW))],
    ["a fleet of one", renderStatus({ hosts: [router] }, paint, NOW)],
    ["a machine that has put itself back", renderStatus({ hosts: [rolledBack] }, paint, NOW)],
    ["an upgrade that was triggered", triggered()],
    ["a difference", difference()],
    ["an update of inputs", flakeUpdate()],
  ]);
}

function firstCheck(): string {
  const host: HostCheck = {
    ...{ name: "router", status: "ok", toplevel: null, drv: null, base: null, packages: null, reboot: null },
    ...{ reproducible: false, remembered: false, warnings: [], error: null, duration: 1 },
    plan: { build: 34, fetch: 121, download: 310 * 2 ** 20, unpacked: null },
  };
  return renderCheck({ version: 1, command: "check", base: null, warnings: [], hosts: [host] }, paint, false);
}

function serverCheck(findings: ReturnType<typeof serverFindings>): string {
  return renderServerCheck(
    { version: 1, command: "server check", findings, hosts: [{ name: "router", status: "ok" }] },
    paint,
  );
}

/** One whose directory has lost its mode, and one that has left the fleet. */
function serverView(): ServerView {
  const [publisher, group] = [30000, 30000];
  const directory = (mode: number, uid: number, gid: number) => ({ mode: 0o040000 | mode, uid, gid });
  return {
    root: directory(0o755, 0, 0),
    lockDirectory: directory(0o700, publisher, group),
    hosts: new Map([
      [
        "nas",
        {
          chroot: directory(0o755, 0, 0),
          releases: directory(0o755, publisher, 30001),
          reports: directory(0o2750, 30001, group),
          tree: null,
        },
      ],
    ]),
    names: ["nas", "old"],
    made: { uid: publisher, gid: group, time: NOW },
    missingExtensions: [],
    space: undefined,
    runsCommands: false,
    forwards: false,
  };
}

const router: HostStatus = {
  ...{ name: "router", state: "up-to-date", sync: "applied", health: "ok", reason: null },
  published: {
    ...{ sequence: NOW, commit: "9f2c1d7a6b10".padEnd(40, "0"), subject: "A fleet of one" },
    ...{ toplevel: null, issued: new Date(NOW).toISOString() },
  },
  ...{ running: null, lastContact: new Date(NOW).toISOString(), lastOutcome: "success", attempted: null, agent: null },
  ...{ wave: null, groups: [], history: null, log: null },
};

const rolledBack: HostStatus = {
  ...router,
  ...{ state: "rolled-back", sync: "rolled-back", lastContact: new Date(NOW - 60_000).toISOString() },
  published: {
    ...{ sequence: NOW, commit: "4be0c7d2f911".padEnd(40, "0"), subject: "Merge pull request #2 from ada/mistake" },
    ...{ toplevel: null, issued: new Date(NOW).toISOString() },
  },
  reason: "no contact: sftp: fleet.example.org:2222 can't be reached: …",
};

function triggered(): string {
  const log = ["20:05:13 release 1795723513000: nas: curl", "20:05:13 fetching", "…", "20:05:16 success"];
  const table = renderTrigger(
    {
      version: 1,
      command: "trigger",
      hosts: [
        {
          ...{ name: "nas", status: "ok", outcome: "success", reason: null, sequence: 1795723513000 },
          ...{ running: null, joined: false, error: null },
        },
      ],
    },
    paint,
  );
  return [...log, table].join("\n");
}

function difference(): string {
  const before = 1.2 * 2 ** 30;
  return renderDiff(
    {
      ...{ version: 1, command: "diff", base: null, warnings: [] },
      hosts: [
        {
          ...{ name: "nas", status: "changed", from: null, to: null, sequence: null, lastContact: null },
          packages: [
            { name: "curl", from: "8.16.0", to: "8.17.0" },
            { name: "postgresql", from: "18.1", to: null },
          ],
          size: { from: before, to: before + 3.1 * 2 ** 20 },
          ...{ reason: null, error: null },
        },
      ],
    },
    paint,
    false,
  );
}

function flakeUpdate(): string {
  const locked = (rev: string, date: string): LockedInput => ({
    ...{ source: "github:NixOS/nixpkgs", rev: rev.padEnd(40, "0"), date, narHash: null },
  });
  return renderFlakeUpdate(
    {
      ...{ version: 1, command: "flake-update", dryRun: false },
      flakes: [
        {
          ...{ path: "hosts/laptops", file: "hosts/laptops/flake.lock", status: "updated", reason: null, error: null },
          changes: [
            {
              input: "nixpkgs",
              from: locked("4c1018dae018", "2026-10-30"),
              to: locked("a1b2c3d4e5f6", "2026-11-20"),
            },
          ],
        },
        {
          ...{ path: "hosts/nas", file: "hosts/nas/flake.lock", status: "unchanged", changes: [], reason: null },
          error: null,
        },
      ],
    },
    paint,
    false,
  );
}
