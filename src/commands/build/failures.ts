import { inertLine } from "../../inert.ts";
import type { BuildOutcome, FailedDerivation } from "../../nix/build.ts";
import { nameOf, type Platform } from "../../nix/build-errors.ts";
import { inertLog, saveLog } from "../../nix/build-log.ts";
import type { Nix } from "../../nix/nix.ts";
import type { HostFailure } from "../../results.ts";
import type { Context } from "../context.ts";

/**
 * Why hosts didn't build, by name. The log of each derivation that failed is kept whole in `directory`, and its end is shown
 * with the first host that needs it.
 */
export async function failuresOf(
  { output }: Pick<Context, "output">,
  nix: Nix,
  outcomes: ReadonlyMap<string, BuildOutcome>,
  directory: string,
): Promise<Map<string, HostFailure>> {
  const failures = new Map<string, HostFailure>();
  const needing = hostsByCulprit(outcomes);
  const logs = new Map<string, string>();
  for (const [drv, { culprit, hosts }] of needing) {
    const file = await saveLog(nix, culprit, directory);
    logs.set(drv, file);
    output.folded(
      `the end of ${nameOf(drv)}'s log, which ${hosts.join(", ")} need${hosts.length === 1 ? "s" : ""}`,
      inertLog(culprit.tail.join("\n")),
    );
  }
  for (const [host, outcome] of outcomes) {
    if (outcome.kind !== "failed") continue;
    const { culprits, message } = outcome;
    const [first] = culprits;
    if (first === undefined) {
      failures.set(host, { message: inertLine(message) });
      continue;
    }
    const more = culprits.length > 1 ? ` (and ${culprits.length - 1} more that it needs)` : "";
    const file = logs.get(first.drv);
    const sharing = needing.get(first.drv)?.hosts ?? [];
    const isShown = sharing[0] === host;
    failures.set(host, {
      message: inertLine(`${nameOf(first.drv)} failed to build: ${first.reason}${more}`),
      derivation: first.drv,
      ...(file === undefined ? {} : { log: file, hint: `the whole log: ${file}` }),
      ...(isShown ? { trace: inertLog(first.tail.join("\n")) } : {}),
    });
  }
  return failures;
}

/** What didn't build, and the hosts that need it. */
function hostsByCulprit(
  outcomes: ReadonlyMap<string, BuildOutcome>,
): Map<string, { culprit: FailedDerivation; hosts: string[] }> {
  const found = new Map<string, { culprit: FailedDerivation; hosts: string[] }>();
  for (const [host, outcome] of outcomes) {
    for (const culprit of outcome.kind === "failed" ? outcome.culprits : []) {
      const known = found.get(culprit.drv) ?? { culprit, hosts: [] };
      known.hosts.push(host);
      found.set(culprit.drv, known);
    }
  }
  return found;
}

/**
 * What is to be said of hosts that aren't built here, one line for all with the same reason. `builders` are those that couldn't be
 * used, and why.
 */
export function unbuildableWarnings(
  outcomes: ReadonlyMap<string, BuildOutcome>,
  builders: ReadonlyMap<string, string>,
): string[] {
  const hosts = new Map<string, string[]>();
  for (const [host, outcome] of outcomes) {
    if (outcome.kind !== "unbuildable") continue;
    const needs = describe(outcome.needs);
    hosts.set(needs, [...(hosts.get(needs) ?? []), host]);
  }
  const lost = [...builders].map(([builder, why]) => inertLine(`${builder} can't be used now: ${why}`));
  const hint =
    lost.length > 0 ? lost.join("; ") : "see 'builders' in nix.conf(5), or boot.binfmt.emulatedSystems on NixOS";
  return [...hosts].map(
    ([needs, names]) =>
      `${names.join(", ")}: not built, as neither this machine nor a remote builder of its own builds ${needs} (${hint})`,
  );
}

function describe({ system, features }: Platform): string {
  const wanted = features.length === 0 ? "" : `features ${features.join(", ")}`;
  return inertLine([system ?? (features.length === 0 ? "what it needs" : ""), wanted].filter(Boolean).join(" with "));
}
