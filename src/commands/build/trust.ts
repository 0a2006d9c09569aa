import { FleetError } from "../../errors.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import type { CacheKey } from "../../nix/cache-key.ts";

/**
 * What is to be said of a key with which nothing is signed that hosts take, as far as fleet.yaml tells; null for nothing. A fleet that
 * names no binary cache has set its hosts up in another way.
 * @throws FleetError where hosts know another key by the same name, which can't be meant.
 */
export function distrustOf(
  { publicKey }: Pick<CacheKey, "publicKey">,
  fleet: Pick<Fleet, "substituters">,
): string | null {
  const known = fleet.substituters.map(({ key }) => key);
  if (known.length === 0 || known.includes(publicKey)) return null;
  const name = nameOf(publicKey);
  if (known.some((key) => nameOf(key) === name)) {
    throw new FleetError(`the key that signs is another than the one called ${name} under substituters in fleet.yaml`, {
      hint: `hosts would refuse all that it signs: its public half is ${publicKey}; correct it there, or give the right key`,
    });
  }
  return `${name}, the key that signs, is not under substituters in fleet.yaml: hosts take what it signs only if they trust it for another reason`;
}

function nameOf(key: string): string {
  return key.replace(/:.*/, "");
}
