import { isIPv4, isIPv6 } from "node:net";
import { FleetError } from "../errors.ts";
import type { Fleet, Substituter } from "./fleet.ts";
import type { ParsedFleet } from "./parse.ts";

/**
 * What of a cache's URL the server connects hosts to: `127.0.0.1:5000`, `[::1]:5000`, as sshd's PermitOpen has it. Null unless it is
 * http and a number: sshd compares what it was asked for with what it permits letter by letter, and a name would be looked up by
 * whoever is asked for it. (https would show a certificate for another name than that of the near end.)
 */
export function forwardTarget({ url }: Substituter): string | null {
  const { protocol, hostname, port, username, password } = new URL(url);
  if (protocol !== "http:" || username !== "" || password !== "") return null;
  const isAddress = isIPv4(hostname) || (/^\[.*\]$/.test(hostname) && isIPv6(hostname.slice(1, -1)));
  return isAddress ? `${hostname}:${port === "" ? 80 : port}` : null;
}

/** The cache that hosts reach through the server (`cache: { over: ssh }`), and where the server finds it; null for none. */
export function cacheOverSsh(
  fleet: Pick<Fleet, "cache" | "substituters">,
): { substituter: Substituter; target: string } | null {
  if (fleet.cache?.over !== "ssh") return null;
  for (const substituter of fleet.substituters) {
    const target = forwardTarget(substituter);
    if (target !== null) return { substituter, target };
  }
  return null;
}

/** @throws FleetError unless there is a server to reach a cache through, and exactly one such cache. */
export function checkCacheOverSsh({ content, locate }: ParsedFleet): void {
  const { cache, server, substituters } = content;
  if (cache?.over !== "ssh") return;
  const at = locate(["cache", "over"]);
  if (!server) {
    throw new FleetError("cache.over: there is no server to reach it through", {
      at,
      hint: "hosts forward the cache through the ssh server that they poll: set server, or leave this out",
    });
  }
  const [first, second] = substituters.flatMap((each, index) => (forwardTarget(each) === null ? [] : [index]));
  if (first === undefined) {
    throw new FleetError("cache.over: none of the substituters can be forwarded", {
      at,
      hint: "it must be http://ADDRESS:PORT with an address in numbers, as the server itself reaches it: http://127.0.0.1:5000",
    });
  }
  if (second !== undefined) {
    throw new FleetError("cache.over: only one cache can be forwarded, and this is a second", {
      at: locate(["substituters", second, "url"]),
      hint: "caches that hosts reach by themselves have a name: https://cache.example.org",
    });
  }
}
