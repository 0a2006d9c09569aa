import { nearest } from "./suggest.ts";

/** What the addresses of Nix stores begin with that systems can be copied to and fetched from (nix help-stores). */
const SCHEMES = ["file", "http", "https", "s3", "ssh", "ssh-ng"];

/** Why a text is no address of a Nix store, to be said after what it was given as; null when it is one. */
export function storeUrlProblem(text: string): string | null {
  // nix.conf separates addresses by blanks.
  if (/[\s\p{Cc}]/u.test(text)) return "must be one address without blanks in it";
  const [, scheme = "", rest = ""] = /^([^:/?#]*):(.*)$/.exec(text) ?? [];
  if (!SCHEMES.includes(scheme)) {
    const meant = nearest(scheme, SCHEMES);
    const advice = meant ? `did you mean '${meant}://'?` : `it begins with one of ${SCHEMES.join(", ")}, and ://`;
    return `must be the address of a Nix store; ${advice}`;
  }
  if (!/^\/\//.test(rest) || !URL.canParse(text)) return `must be an address as ${example(scheme)} is one`;
  if (/^\/\/[^/?#]*@[^/?#]*@/.test(rest)) return "must have %40 for an '@' in its password";
  const { host, pathname } = new URL(text);
  const isHalf = /%(?![0-9a-f]{2})/i.test(host);
  if (isHalf || (scheme === "file" ? host !== "" || pathname === "/" : host === ""))
    return `must be an address as ${example(scheme)} is one`;
  // To ssh it would be an option.
  if (/^(?:-|%2d)/i.test(host)) return "must name a host, and no host's name begins with '-'";
  return null;
}

function example(scheme: string): string {
  return scheme === "file" ? "file:///srv/cache" : `${scheme}://cache.example.org`;
}

/** Whether an address has something in it that lets in whoever reads it: a password, a token, the path of a key. */
export function holdsSecret(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, searchParams } = new URL(text);
  // The user of an ssh login is no secret.
  const isToken = username !== "" && /^https?:$/.test(protocol);
  return password !== "" || isToken || searchParams.has("secret-key") || searchParams.has("secret-keys");
}
