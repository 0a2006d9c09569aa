import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { UnavailableError } from "../errors.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { CacheKey } from "./cache-key.ts";
import { lastSaid, withoutColours } from "./failure-message.ts";
import type { Nix } from "./nix.ts";

/** Paths that Nix is asked about at once; a command line has no room for more than some thousands. */
const AT_ONCE = 1000;

/**
 * Signs what a binary cache has already, where hosts that trust the key alone wouldn't take it: pushed without a key, or with
 * another one. What is signed is what this machine's store has: where the cache has something else under the same name, it
 * gets no signature, whoever has put it there. `paths` are closures whole. Gives how many were signed.
 * @throws UnavailableError when some can't be, or the cache can't be asked.
 */
export async function signInCache(
  nix: Nix,
  cache: string,
  key: Pick<CacheKey, "file" | "publicKey">,
  paths: readonly string[],
): Promise<number> {
  const unsigned = await untrusted(nix, cache, key, paths);
  if (unsigned.length === 0) return 0;
  await copySignatures(nix, cache, key, unsigned);
  const left = await untrusted(nix, cache, key, unsigned);
  const [first] = left;
  if (first === undefined) return unsigned.length;
  throw new UnavailableError(
    `it has other builds of ${left.length} of these paths, which another key has signed, or none: such as ${first}`,
    { hint: "they get no signature of this build's; take them out, or begin a new cache" },
  );
}

/** Those that the cache has, and a host that trusts this key alone would refuse. Nothing that is remembered counts. */
async function untrusted(
  nix: Nix,
  cache: string,
  { publicKey }: Pick<CacheKey, "publicKey">,
  paths: readonly string[],
): Promise<string[]> {
  const options = ["--no-contents", "--sigs-needed", "1", "--option", "trusted-public-keys", publicKey];
  const found: string[] = [];
  for (const some of parts(paths)) {
    const run = await nix.run("nix", ["store", "verify", ...options, ...AFRESH, "--store", cache, ...some]);
    const said = withoutColours(run.stderr);
    const refused = [...said.matchAll(/^path '([^'\n]+)' is untrusted$/gm)].flatMap(([, stored]) => stored ?? []);
    // 2 says that some are untrusted, and nothing else of them.
    if (run.status !== 0 && !(run.status === 2 && refused.length > 0)) throw failed(said);
    found.push(...refused);
  }
  return found;
}

/** Whatever was asked of a cache before: it may have been emptied, or filled by somebody else, since. */
export const AFRESH = ["--option", "narinfo-cache-positive-ttl", "0", "--option", "narinfo-cache-negative-ttl", "0"];

/**
 * Signs these paths in a cache of narinfos alone, made of what this machine's store knows, and has Nix copy the signatures,
 * which it does only where size, hash and references are the same. So it needs no right to sign in either store.
 */
async function copySignatures(
  nix: Nix,
  cache: string,
  { file }: Pick<CacheKey, "file">,
  paths: readonly string[],
): Promise<void> {
  await using temporary = await temporaryDirectory();
  const own = `file://${path.join(temporary.path, "narinfos")}`;
  await mkdir(path.join(temporary.path, "narinfos"));
  for (const some of parts(paths)) {
    const known = await nix.run("nix-store", ["--dump-db", ...some]);
    if (known.status !== 0) throw failed(known.stderr);
    for (const [name, text] of narinfos(known.stdout))
      await writeFile(path.join(temporary.path, "narinfos", name), text);
    for (const args of [
      ["sign", "--key-file", file, "--store", own, ...some],
      ["copy-sigs", ...AFRESH, "--substituter", own, "--store", cache, ...some],
    ]) {
      const run = await nix.run("nix", ["store", ...args]);
      if (run.status !== 0) throw failed(run.stderr);
    }
  }
}

/** Names and texts of narinfos, from what `nix-store --dump-db` prints: path, hash, size, deriver, and references, a line each. */
function narinfos(registration: string): [string, string][] {
  const found: [string, string][] = [];
  const lines = registration.split("\n");
  const next = () => lines.shift() ?? "";
  while (lines.length > 1) {
    const [stored, hash, size] = [next(), next(), next()];
    next();
    const references = Array.from({ length: Number(next()) }, () => path.basename(next()));
    const fields = {
      StorePath: stored,
      // There is no such file, as nothing is ever fetched from there; but Nix 2.8 wants it described.
      URL: "nar/none",
      Compression: "none",
      FileHash: `sha256:${hash.replace(/^sha256:/, "")}`,
      FileSize: size,
      NarHash: `sha256:${hash.replace(/^sha256:/, "")}`,
      NarSize: size,
      References: references.join(" "),
    };
    const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
    found.push([`${path.basename(stored).slice(0, 32)}.narinfo`, text.join("")]);
  }
  return found;
}

function parts(paths: readonly string[]): string[][] {
  const all = [...new Set(paths)];
  return Array.from({ length: Math.ceil(all.length / AT_ONCE) }, (_, n) => all.slice(n * AT_ONCE, (n + 1) * AT_ONCE));
}

function failed(stderr: string): UnavailableError {
  return new UnavailableError(`what is there can't be signed: ${lastSaid(stderr)}`);
}
