import { FleetError } from "../../errors.ts";
import type { Fleet, Host } from "../../fleet/fleet.ts";
import { canReceive } from "../../secrets/recipients.ts";

/** A host that secrets can be encrypted to. */
export type Receiver = Host & { key: string };

/** @throws FleetError for a host without a key that age can encrypt to. */
export function receivers(hosts: readonly Host[]): Receiver[] {
  return hosts.map((host) => {
    const { key } = host;
    if (key === null) {
      throw new FleetError(`${host.name} has no key in fleet.yaml yet, and a secret is encrypted to it`, {
        hint: "on the machine: cat /etc/ssh/ssh_host_ed25519_key.pub, and put it there",
      });
    }
    if (!canReceive(key)) {
      throw new FleetError(`${host.name} has an ${key.split(" ")[0]} key, which age can't encrypt to`, {
        hint: "give it its ssh-ed25519 key: on the machine, cat /etc/ssh/ssh_host_ed25519_key.pub",
      });
    }
    return { ...host, key };
  });
}

/** Whom a secret of the host is encrypted to. */
export function recipients(fleet: Fleet, host: Receiver): string[] {
  return [host.key, ...fleet.administrators];
}
