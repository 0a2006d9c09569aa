/** Texts of small configurations, for fleets of a test's own. */

import type { PrivateStore } from "../support/store.ts";

/** `hosts/NAME/configuration.nix` of a host without flakes; `definitions` begins in line 4. */
export function configuration(name: string, definitions = ""): string {
  return `{ pkgs, ... }:\n{\n  networking.hostName = "${name}";\n${definitions}\n}\n`;
}

/** A flake.nix with these systems. It needs no lock file, since it has no inputs. */
export function flake(store: PrivateStore, hosts: readonly string[]): string {
  const systems = hosts.map(
    (name) =>
      `    ${name} = lib.nixosSystem { system = "${store.system}"; modules = [ { networking.hostName = "${name}"; } ]; };`,
  );
  return `{
  outputs = { self }: {
    nixosConfigurations = let lib.nixosSystem = import ./nixpkgs/nixos/eval.nix; in {
${systems.join("\n")}
    };
  };
}
`;
}

/**
 * A configuration that says it is being evaluated, by reading from a fifo, which needs somebody at its other end, and then never
 * comes to an end.
 */
export function endless(name: string, fifo: string): string {
  return configuration(
    name,
    `  networking.gateway =
    let
      numbers = builtins.genList (n: n) 1000;
      spin = work: builtins.foldl' (sum: _: work sum) 0 numbers;
    in
    builtins.seq (builtins.readFile ${fifo}) (toString (spin (_: spin (_: spin (_: spin (_: spin (sum: sum + 1)))))));`,
  );
}
