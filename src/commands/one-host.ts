import { FleetError } from "../errors.ts";
import type { Host } from "../fleet/fleet.ts";
import { selectHosts } from "../fleet/select.ts";

/** @throws FleetError when there is no such host, several are meant, or it can't have any release. */
export function oneHost(hosts: readonly Host[], name: string): Host {
  const selected = selectHosts(
    hosts.filter((host) => host.declared),
    [name],
  );
  const [host] = selected;
  if (host === undefined || selected.length > 1)
    throw new FleetError(`'${name}' names ${selected.length} hosts, and has to be one`);
  if (host.key === null) throw new FleetError(`${name} has no key in fleet.yaml yet, and was never published`);
  return host;
}
