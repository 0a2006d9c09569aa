import { FleetError, type Location } from "../errors.ts";
import type { Host } from "./fleet.ts";
import { glob } from "./select.ts";
import { nearest } from "./suggest.ts";

/** A host as far as waves go. */
type Member = Pick<Host, "name" | "groups">;

/**
 * The hosts of each wave of fleet.yaml's `rollout`, by name. An entry is a group, or a host's name or glob; a host is in the
 * first wave that names it. `locate` says where an entry stands.
 * @throws FleetError for an entry that names nothing, a wave without a host of its own, and a host that is in no wave.
 */
export function wavesOf(
  rollout: readonly (readonly string[])[],
  hosts: readonly Member[],
  locate: (path: readonly PropertyKey[]) => Location,
): string[][] {
  const taken = new Set<string>();
  const waves = rollout.map((entries, index) => {
    const wave = new Set<string>();
    for (const [position, entry] of entries.entries()) {
      const matching = hosts.filter((host) => isNamedBy(host, entry));
      if (matching.length === 0 && entry !== "*") {
        const meant = nearest(
          entry,
          hosts.flatMap((host) => [host.name, ...host.groups]),
        );
        throw new FleetError(`rollout: there is no group or host '${entry}'`, {
          at: locate(["rollout", index, position]),
          ...(meant === undefined ? {} : { hint: `did you mean '${meant}'?` }),
        });
      }
      for (const { name } of matching) if (!taken.has(name)) wave.add(name);
    }
    if (wave.size === 0) {
      throw new FleetError(`rollout: wave ${index + 1} has no host that isn't in an earlier one`, {
        at: locate(["rollout", index]),
      });
    }
    for (const name of wave) taken.add(name);
    return [...wave].sort();
  });
  const left = hosts.filter((host) => !taken.has(host.name)).map((host) => host.name);
  if (left.length > 0) {
    throw new FleetError(
      `rollout: ${left.slice(0, 5).join(", ")}${left.length > 5 ? " and others are" : left.length > 1 ? " are" : " is"} in no wave`,
      {
        at: locate(["rollout"]),
        hint: 'end it with a wave for all others: ["*"]',
      },
    );
  }
  return waves;
}

function isNamedBy({ name, groups }: Member, entry: string): boolean {
  return groups.includes(entry) || glob(entry).test(name);
}

/** What `deploy --wave` takes: a number from 1, or `all`. */
export type Wave = number | "all";

/** @throws FleetError for anything else. */
export function parseWave(text: string): Wave {
  if (text === "all") return "all";
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new FleetError(`a wave is a number from 1, or 'all', and not '${text}'`);
}

/**
 * The hosts that a deploy is about, and those that must be well before: all hosts, or what `wave` says.
 * @throws FleetError when there is no such wave, or when there are waves and none was chosen: canaries are no canaries when
 * everybody goes with them.
 */
export function chooseWave(
  waves: readonly (readonly string[])[] | null,
  wave: Wave | null,
  hostsWereNamed: boolean,
): { hosts: readonly string[] | null; before: readonly string[] } {
  if (wave === "all") return { hosts: null, before: [] };
  if (waves === null) {
    if (wave === null) return { hosts: null, before: [] };
    throw new FleetError("fleet.yaml has no rollout, and so no waves", { hint: "deploy without --wave" });
  }
  if (wave === null) {
    if (hostsWereNamed) return { hosts: null, before: [] };
    throw new FleetError(`fleet.yaml has a rollout of ${waves.length} waves: say which one`, {
      hint: "--wave 1 first, then the others; --wave all publishes for every host at once, and --hosts for those named",
    });
  }
  const hosts = waves[wave - 1];
  if (hosts === undefined) throw new FleetError(`there is no wave ${wave}: fleet.yaml's rollout has ${waves.length}`);
  return { hosts, before: waves.slice(0, wave - 1).flat() };
}
