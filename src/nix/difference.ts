import { UnavailableError } from "../errors.ts";
import type { PackageChange } from "../results.ts";
import { lastSaid } from "./failure-message.ts";
import type { Nix } from "./nix.ts";

/** What a derivation's build needs besides packages: sources, patches, hooks and the files that NixOS generates. */
const NOT_A_PACKAGE =
  /\.(?:tar(?:\.\w+)?|t[gbx]z|zip|patch(?:\.\w+)?|diff|gem|crate|whl|json|conf|sh|service|timer|socket|mount|rules|ini)$/;

/**
 * The packages of which two closures have other versions, by name. Of derivations (`.drv`) they are all that building the
 * systems takes, and nothing needs to be built to tell; of systems that are built, they are what is in them.
 * @throws UnavailableError when Nix can't tell.
 */
export async function packageChanges(nix: Nix, from: string, to: string): Promise<PackageChange[]> {
  const [before, after] = await Promise.all([packagesOf(nix, from), packagesOf(nix, to)]);
  return difference(before, after);
}

/** Names with their versions, of all packages that one closure has and the other hasn't. */
export function difference(before: Packages, after: Packages): PackageChange[] {
  const changes: PackageChange[] = [];
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const from = versions(before.get(name));
    const to = versions(after.get(name));
    if (from !== to) changes.push({ name, from, to });
  }
  return changes;
}

type Packages = ReadonlyMap<string, ReadonlySet<string>>;

async function packagesOf(nix: Nix, root: string): Promise<Packages> {
  const run = await nix.run("nix-store", ["--query", "--requisites", root]);
  if (run.status !== 0) {
    throw new UnavailableError(`nix-store --query --requisites failed: ${lastSaid(run.stderr)}`);
  }
  return parsePackages(run.stdout);
}

/** The outputs of a package that are not its main one are the same package. */
const OUTPUT = /-(?:bin|lib|dev|man|doc|devdoc|info|debug|data|static|out|terminfo|getent|libgcc)$/;

/** Reads store paths, one a line. Only those count that have a version in their name, as Nix tells it: at `-` and a digit. */
export function parsePackages(paths: string): Packages {
  const packages = new Map<string, Set<string>>();
  for (const line of paths.split("\n")) {
    const [, name = "", drv] = /\/[0-9a-z]{32}-(.*?)(\.drv)?$/.exec(line) ?? [];
    const [, base, version] = /^(.*?)-(\d.*)$/.exec(drv === undefined ? name.replace(OUTPUT, "") : name) ?? [];
    if (base === undefined || version === undefined || NOT_A_PACKAGE.test(version)) continue;
    // The system itself has its release's version; that says nothing of what is in it.
    if (base.startsWith("nixos-system-")) continue;
    packages.set(base, (packages.get(base) ?? new Set()).add(version));
  }
  return packages;
}

function versions(found: ReadonlySet<string> | undefined): string | null {
  return found === undefined ? null : [...found].sort().join(", ");
}
