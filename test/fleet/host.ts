import type { Fleet, Host } from "../../src/fleet/fleet.ts";

export function hostNamed(name: string, more: Partial<Host> = {}): Host {
  return {
    name,
    path: `hosts/${name}`,
    kind: "channel",
    config: "configuration.nix",
    attr: name,
    deliver: "tree",
    key: null,
    groups: [],
    ssh: null,
    include: null,
    nixpkgs: null,
    agent: true,
    declared: true,
    ...more,
  };
}

/** What a user sees of the hosts: their names, and how each was taken. */
export function brief(fleet: Pick<Fleet, "hosts">): string[] {
  return fleet.hosts.map(
    ({ name, kind, path, attr, declared }) =>
      `${name}: ${kind} ${path}${kind === "flake" ? `#${attr}` : ""}${declared ? "" : ", undeclared"}`,
  );
}
