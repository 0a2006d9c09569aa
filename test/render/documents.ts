import {
  type CheckDocument,
  type DeployDocument,
  FLEET_STATES,
  type HostCheck,
  type HostDeploy,
  type HostStatus,
  needsAttention,
  type StatusDocument,
} from "../../src/results.ts";

/** A host that is well, and what a test changes of it. */
export function checked(name: string, changes: Partial<HostCheck> = {}): HostCheck {
  return {
    name,
    status: "ok",
    toplevel: `/nix/store/${"0".repeat(32)}-nixos-system-${name}-26.05`,
    drv: `/nix/store/${"1".repeat(32)}-nixos-system-${name}-26.05.drv`,
    base: null,
    packages: null,
    reboot: null,
    reproducible: true,
    remembered: false,
    plan: { build: 0, fetch: 0, download: 0, unpacked: 0 },
    warnings: [],
    error: null,
    duration: 1,
    ...changes,
  };
}

export function check(hosts: HostCheck[], changes: Partial<CheckDocument> = {}): CheckDocument {
  return { version: 1, command: "check", base: null, warnings: [], hosts, ...changes };
}

export function failing(name: string, message: string, changes: Partial<HostCheck["error"]> = {}): HostCheck {
  return checked(name, { status: "failed", toplevel: null, drv: null, plan: null, error: { message, ...changes } });
}

export function deployed(name: string, changes: Partial<HostDeploy> = {}): HostDeploy {
  return {
    name,
    status: "published",
    digest: "sha256-",
    sequence: 1795430400000,
    commit: "0123456789abcdef0123456789abcdef01234567",
    toplevel: null,
    error: null,
    reason: null,
    ...changes,
  };
}

export function deploy(hosts: HostDeploy[], changes: Partial<DeployDocument> = {}): DeployDocument {
  return { version: 1, command: "deploy", dryRun: false, warnings: [], hosts, ...changes };
}

export function reported(name: string, changes: Partial<HostStatus> = {}): HostStatus {
  return {
    name,
    state: "up-to-date",
    sync: "applied",
    health: "ok",
    reason: null,
    published: null,
    running: null,
    lastContact: null,
    lastOutcome: null,
    attempted: null,
    agent: null,
    wave: null,
    groups: [],
    history: null,
    log: null,
    ...changes,
  };
}

export function status(hosts: HostStatus[], changes: Partial<StatusDocument> = {}): StatusDocument {
  const failOn = FLEET_STATES.filter(needsAttention);
  return { version: 1, command: "status", time: "2026-11-23T12:00:00.000Z", failOn, hosts, ...changes };
}

/** What somebody may write where others will read it. */
export const HOSTILE = [
  "| a | b |",
  "`code` ``` fence",
  "<img src=x onerror=alert(1)> <!-- -->",
  "</code></pre></details><script>",
  "@ada @example/team",
  "#1 GH-2 example/fleet#3",
  "[text](javascript:alert(1)) ![image](https://example.org/x.png)",
  "https://example.org www.example.org ada@example.org",
  "**bold** __bold__ *it* _it_ ~~gone~~",
  "# heading\n## heading\n- list\n1. list\n> quote\n---",
  "&lt;b&gt; &amp; &#60;",
  "\\| \\` \\\\",
  "\u202eoverride\u202c \u2066isolate\u2069 \u200fmark",
  "\u001b[31mred\u001b[0m \u0007 \u009b31m",
  "line\rreturn\u2028separator\u2029paragraph\u0085next",
  "::error::owned",
  ":tada: $x^2$ $$y$$",
  "0123456789abcdef0123456789abcdef01234567",
] as const;
