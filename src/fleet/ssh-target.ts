/** How an administrator reaches a host: `ssh:` of fleet.yaml. */
export interface SshTarget {
  /** Null for whatever ssh itself would take. */
  user: string | null;
  /** A name, an address, or an alias of the administrator's own ssh_config; an IPv6 address without brackets. */
  address: string;
  /** Null for whatever ssh itself would take. */
  port: number | null;
}

const USER = /^[A-Za-z0-9_.][A-Za-z0-9_.+@-]*$/;
const ADDRESS = /^[A-Za-z0-9._][A-Za-z0-9._-]*$/;
/** With a zone, such as fe80::1%eth0. */
const IPV6 = /^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?$/;

/**
 * Reads `[ssh://][user@]address[:port]`; an IPv6 address stands in brackets where a port follows. Null for anything else, so
 * that nothing in it means something to ssh, to an ssh_config or to a shell.
 */
export function parseSshTarget(text: string): SshTarget | null {
  const plain = text.replace(/^ssh:\/\//, "");
  const at = plain.lastIndexOf("@");
  const user = at < 0 ? null : plain.slice(0, at);
  if (user !== null && !USER.test(user)) return null;
  const place = plain.slice(at + 1);
  const bracketed = /^\[([^\]]*)\](?::(\d+))?$/.exec(place);
  if (bracketed !== null) {
    const [, address = "", port] = bracketed;
    return IPV6.test(address) ? withPort(user, address, port) : null;
  }
  if (IPV6.test(place) && place.split(":").length > 2) return { user, address: place, port: null };
  const [, address = "", port] = /^([^:]*)(?::(\d+))?$/.exec(place) ?? [];
  return ADDRESS.test(address) ? withPort(user, address, port) : null;
}

function withPort(user: string | null, address: string, port: string | undefined): SshTarget | null {
  if (port === undefined) return { user, address, port: null };
  const number = Number(port);
  return number >= 1 && number <= 65_535 ? { user, address, port: number } : null;
}
