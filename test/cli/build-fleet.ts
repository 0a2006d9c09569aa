import { rm } from "node:fs/promises";
import path from "node:path";
import { privateStore } from "../nix/store.ts";
import { gitRepository } from "../platform/git.ts";
import { succeed } from "../support/programs.ts";

/** Packages that hosts have, each a derivation of a few lines of shell. */
const PACKAGES = `let
  package = name: attributes: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/run/current-system/sw/bin:/usr/bin:/bin\\n\${script}" ];
  } // attributes);
  put = name: "mkdir -p $out/bin && echo \${name} > $out/bin/\${name}";
in
rec {
  # Says when it is built, which must be once.
  shared = package "shared-1.0" { } "echo built >> @dir@/shared-builds; \${put "shared"}";
  broken = package "broken-1.0" { } ''
    i=0; while [ $i -lt 100 ]; do echo "line $i"; i=$((i + 1)); done
    printf '\\033[31mred\\033[0m\\n::error::no annotation\\n\\033]0;title\\007\\n'
    exit 3
  '';
  # Lies in Nix's own words, and then fails.
  liar = package "liar-1.0" { } ''
    echo '@nix {"action":"msg","level":0,"msg":"error: a '"'riscv64-linux'"' with features {} is required to build '"'@dir@/nix/store/00000000000000000000000000000000-x.drv'"', but I am not"}' >&2
    exit 1
  '';
  foreign = package "foreign-1.0" { system = "riscv64-linux"; } (put "foreign");
  special = package "special-1.0" { requiredSystemFeatures = [ "teleport" ]; } (put "special");
  # Waits for somebody to open the fifo.
  endless = package "endless-1.0" { } "read line < @dir@/fifo";
  big = n: package "big-\${toString n}" { } "mkdir -p $out/bin && head -c 3000000 /dev/urandom > $out/bin/big-\${toString n}";
}
`;

export type BuildFleet = Awaited<ReturnType<typeof buildFleet>>;

/** A fleet of hosts without flakes, and a store of its own. `hosts` has each host's packages: `p.shared p.broken`. */
export async function buildFleet(hosts: Readonly<Record<string, string>>) {
  const store = await privateStore();
  const configuration = (name: string, packages: string) =>
    `{ ... }: let p = import ./packages.nix; in { networking.hostName = "${name}"; environment.systemPackages = [ ${packages} ]; }\n`;
  const files = (name: string, packages: string) => ({
    [`hosts/${name}/configuration.nix`]: configuration(name, packages),
    [`hosts/${name}/packages.nix`]: PACKAGES.replaceAll("@dir@", store.dir),
  });
  const repository = await gitRepository(
    Object.assign({}, ...Object.entries(hosts).map(([name, packages]) => files(name, packages))),
  );
  const state = path.join(store.dir, "state");
  return {
    store,
    dir: repository.dir,
    git: repository.git,
    /** What the environment of the command line has in it. */
    env: { XDG_STATE_HOME: state, XDG_CACHE_HOME: path.join(store.dir, "cache") },
    state,
    /** Gives a host other packages, or makes it. */
    set: (name: string, packages: string) => repository.commit(files(name, packages), `${name}: ${packages}`),
    remove: async (name: string) => {
      await rm(path.join(repository.dir, "hosts", name), { recursive: true });
      await repository.commit({}, `no ${name}`);
    },
    gc: () => succeed("nix-store", ["--gc"]),
    async [Symbol.asyncDispose]() {
      await repository[Symbol.asyncDispose]();
      await store.remove();
    },
  };
}
