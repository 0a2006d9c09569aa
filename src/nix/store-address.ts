import { FleetError, UnavailableError } from "../errors.ts";
import { storeUrlProblem } from "../fleet/store-url.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { Nix } from "./nix.ts";
import { s3Refusal } from "./s3-refusal.ts";

// The address of a Nix store that is pushed to: what Nix is given, and what people are shown of it.

/**
 * The address that Nix is given: a directory's paths are packed with zstd, which takes a thirtieth of the time that xz takes.
 * @throws FleetError for an address that is none.
 */
export function storeAddress(url: string): string {
  const problem = storeUrlProblem(url);
  if (problem !== null) {
    throw new FleetError(`'${shown(url)}' is no address of a Nix store: it ${problem}`, {
      hint: "such as file:///srv/cache, s3://bucket, ssh-ng://cache.example.org or https://cache.example.org",
    });
  }
  const address = new URL(url);
  if (address.protocol !== "file:") return url;
  // Versions of Nix don't agree on what %20 means there.
  if (address.host !== "" || address.pathname.includes("%")) {
    throw new FleetError(`'${url}' is no directory that can be a cache`, {
      hint: "an absolute path without spaces and special characters, such as file:///srv/cache",
    });
  }
  if (!address.searchParams.has("compression")) address.searchParams.set("compression", "zstd");
  return address.href;
}

/** Where a cache is that is a directory; null for any other. */
export function cacheDirectory(url: string): string | null {
  return url.startsWith("file:") ? new URL(storeAddress(url)).pathname : null;
}

/** Whether it is a binary cache, whose paths are signed by whoever uploads them; others are stores, with a Nix of their own. */
export function isBinaryCache(url: string): boolean {
  return /^(?:file|s3|https?):/.test(url);
}

/** Milliseconds for a look at whether Nix knows a kind of store. */
const LOOK = 20_000;

/**
 * Looks whether this Nix knows the kind of store at all, where it may have been built without, as Debian's is without S3, and whether a
 * bucket is there that lets it in; so that it is told before hours of building. What may pass until then is found out later.
 * @throws UnavailableError when it doesn't.
 */
export async function requireStore(nix: Nix, url: string): Promise<void> {
  if (!url.startsWith("s3:")) return;
  const impatient = ["--option", "download-attempts", "1", "--option", "connect-timeout", "3"];
  // Nix remembers for a week that it was let in.
  await using memory = await temporaryDirectory();
  const { status, stderr } = await nix.run("nix", ["store", "ping", "--store", url, ...impatient], {
    env: { XDG_CACHE_HOME: memory.path },
    timeout: LOOK,
  });
  if (/don't know how to open|not built with/i.test(stderr)) {
    throw new UnavailableError(
      `Nix ${nix.version} on this machine can't push to ${shown(url)}: it was built without S3`,
      {
        hint: "take it from nixos.org or NixOS: Debian's was built without, and from 2.34 on without a login for it",
      },
    );
  }
  const refusal = status === 0 ? null : s3Refusal(stderr, url);
  if (refusal !== null) throw new UnavailableError(`${shown(url)} can't be pushed to: ${refusal.message}`, refusal);
}

/** An address without a password or a token in it, for people. */
export function shown(url: string): string {
  const login = loginIn(url);
  if (login === null) return url;
  const { before, user, password, after } = login;
  // A name alone is a token, but with ssh.
  const name = password === null && /^https?:/.test(url) ? "…" : user;
  return `${before}${name}${password === null ? "" : ":…"}@${after}`;
}

/** What Nix says of an address has it in it, as it was written or as a URL has it. */
export function hidden(text: string, url: string): string {
  const login = loginIn(url);
  const written = login?.password ?? (/^https?:/.test(url) ? login?.user : undefined);
  let without = text;
  for (const secret of written ? spellings(written) : []) without = without.replaceAll(secret, "…");
  return without.split("\n").join(" ");
}

/** What stands before the last `@` of an address' authority; of one that is malformed, before its last `@`, since a password may be why. */
function loginIn(url: string): { before: string; user: string; password: string | null; after: string } | null {
  const pattern = URL.canParse(url) ? /^([^/]*:\/\/)([^/?#]*)@(.*)$/s : /^([^/]*:\/\/)(.*)@(.*)$/s;
  const [, before, login, after] = pattern.exec(url) ?? [];
  if (before === undefined || login === undefined || after === undefined) return null;
  const [, user = "", password] = /^([^:]*)(?::(.*))?$/s.exec(login) ?? [];
  return { before, user, password: password ?? null, after };
}

/** The longest first, since one may be in another. */
function spellings(secret: string): string[] {
  const address = new URL("http://host");
  address.password = secret;
  let plain = secret;
  try {
    plain = decodeURIComponent(secret);
  } catch {
    // What can't be decoded is as it is.
  }
  return [...new Set([secret, plain, address.password, encodeURIComponent(plain)])].sort((a, b) => b.length - a.length);
}
