import { readFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError, UnavailableError } from "../errors.ts";
import { makeDirectory, writeFileAtomically } from "../platform/files.ts";
import { COPY_PATH, eventReader } from "./activity.ts";
import type { CacheKey } from "./cache-key.ts";
import { AFRESH, signInCache } from "./cache-signatures.ts";
import { lastSaid, withoutColours } from "./failure-message.ts";
import type { Nix } from "./nix.ts";
import { LOGGED_OUT, s3Refusal } from "./s3-refusal.ts";
import { hidden, isBinaryCache, shown, storeAddress } from "./store-address.ts";

/** What was copied to a cache; what was there already isn't counted. */
export interface Pushed {
  paths: number;
  /** Unpacked. */
  bytes: number;
  /** Of those that were there, how many got this key's signature now. */
  signed: number;
}

export interface PushOptions {
  signal: AbortSignal;
  /** Told how many paths it has come to. */
  onProgress?: (paths: number) => void;
  /** Told before it is tried again. */
  onRetry?: (error: string, wait: number) => void;
  /** The key that signs what is uploaded to a binary cache, by the way, and what is there already. */
  key?: Pick<CacheKey, "file" | "publicKey">;
  /** Milliseconds before the first retry; each further one waits twice as long. */
  wait?: number;
  /** Milliseconds that an attempt may take before a time-out ends it all. */
  patience?: number;
}

/** How often it is tried. */
const ATTEMPTS = 6;
/** Milliseconds. */
const WAIT = 2_000;
/** Milliseconds. Nix itself has then waited for an answer five times. */
const PATIENCE = 5 * 60_000;
/** For a connection. Nix would wait for minutes, five times; an `--option` of the user's comes after it. */
const CONNECT = ["--option", "connect-timeout", "15"];
/** What is no trouble of the network's, and is the same a minute later. */
const PERMANENT =
  /don't know how to open|not a valid URI|invalid URI|unknown store|permission denied|access denied|AccessDenied|Forbidden|HTTP error (?:4(?!08|2[59])\d\d|501)|No space left|stores with prefix|lacks a (?:valid )?signature|signature by a trusted key|is not a valid store path|host key verification failed|not support|read-only|bad\/illegal format/i;

/**
 * Copies store paths, and all that they need, to a Nix store: each path once, and only those that it hasn't. A path is there
 * whole or not at all, so whatever ends it, the next time it goes on where it was. Trouble that may pass is waited out.
 * @throws UnavailableError when the store can't be reached or refuses; FleetError for an address that is none.
 */
export async function push(nix: Nix, url: string, paths: readonly string[], options: PushOptions): Promise<Pushed> {
  const { signal, onProgress = () => {}, onRetry = () => {} } = options;
  /** What was under way when an attempt ended is copied again by the next. */
  const copied = new Set<string>();
  const [first] = paths;
  if (first === undefined) return { paths: 0, bytes: 0, signed: 0 };
  const address = storeAddress(url);
  if (address.startsWith("file:")) await describeCache(new URL(address).pathname, path.dirname(first));
  for (let attempt = 1; ; attempt++) {
    const begun = performance.now();
    const error = await copy(nix, withKey(address, options.key), paths, (path) => {
      copied.add(path);
      onProgress(copied.size);
    });
    if (error === null) {
      const signed = options.key === undefined ? 0 : await signOthers(nix, address, options.key, paths, copied);
      return { paths: copied.size, bytes: await sizeOf(nix, [...copied]), signed };
    }
    const isMute = /timed out|timeout/i.test(error) && performance.now() - begun > (options.patience ?? PATIENCE);
    const refusal = s3Refusal(error, address);
    if (refusal !== null)
      throw new UnavailableError(`${shown(url)} could not be pushed to: ${refusal.message}`, refusal);
    if (attempt >= ATTEMPTS || isMute || PERMANENT.test(error)) {
      throw new UnavailableError(`${shown(url)} could not be pushed to: ${hidden(error, url)}`, {
        hint: "what was copied is there: the next push goes on with the rest",
      });
    }
    const wait = (options.wait ?? WAIT) * 2 ** (attempt - 1);
    onRetry(hidden(error, url), wait);
    await sleep(wait, undefined, { signal }).catch(() => {
      throw new InterruptedError();
    });
  }
}

/** Signs what was there before. A key that the address names is its user's own business. */
async function signOthers(
  nix: Nix,
  address: string,
  key: Pick<CacheKey, "file" | "publicKey">,
  paths: readonly string[],
  copied: ReadonlySet<string>,
): Promise<number> {
  if (withKey(address, key) === address) return 0;
  const run = await nix.run("nix-store", ["--query", "--requisites", ...new Set(paths)]);
  if (run.status !== 0) throw new UnavailableError(`what is needed can't be told: ${run.stderr.trim()}`);
  const others = run.stdout.split("\n").filter((line) => line !== "" && !copied.has(line));
  return signInCache(nix, address, key, others).catch((error) => {
    if (!(error instanceof UnavailableError)) throw error;
    const refusal = s3Refusal(error.message, address);
    if (refusal !== null)
      throw new UnavailableError(`${shown(address)} is not wholly signed: ${refusal.message}`, refusal);
    const more = error.hint === undefined ? {} : { hint: error.hint };
    throw new UnavailableError(`${shown(address)} is not wholly signed: ${hidden(error.message, address)}`, more);
  });
}

/** One run of Nix's: its error, or null. */
async function copy(
  nix: Nix,
  url: string,
  paths: readonly string[],
  onCopied: (path: string) => void,
): Promise<string | null> {
  const copying = new Map<number, string>();
  let error = "";
  let ssh = "";
  let login = "";
  const read = eventReader((event) => {
    switch (event.kind) {
      case "start":
        if (event.type === COPY_PATH) copying.set(event.id, event.path);
        return;
      case "stop": {
        const path = copying.get(event.id);
        copying.delete(event.id);
        if (path !== undefined) onCopied(path);
        return;
      }
      case "message":
        if (event.level === 0 && lastSaid(event.text) !== "") error = withoutColours(event.text).trim();
        // Why there is no connection, ssh has said itself.
        else if (/^(?:\S+@\S+: |ssh: |Host key|kex_)/.test(event.text)) ssh = `: ${event.text.trim()}`;
        else if (event.text.includes(LOGGED_OUT)) login = `; Nix has no login for it (${LOGGED_OUT})`;
    }
  });
  // Without -v, 2.26 doesn't say which paths it copies.
  const args = ["copy", "-v", "--log-format", "internal-json", ...AFRESH, ...CONNECT, "--to", url, ...new Set(paths)];
  const { status } = await nix.run("nix", args, { onStderr: read, keepNothing: true });
  read("\n");
  if (status === 0) return null;
  return (error.replace(/^error:\s*/, "") || `nix copy ended with status ${status}`) + ssh + login;
}

/** Nix takes the path of the key's file as a setting of the store. */
function withKey(address: string, key: Pick<CacheKey, "file"> | undefined): string {
  if (key === undefined || !isBinaryCache(address) || /[?&]secret-keys?=/.test(address)) return address;
  return `${address}${address.includes("?") ? "&" : "?"}secret-key=${encodeURIComponent(key.file)}`;
}

/** Bytes of store paths, unpacked. Some versions of Nix don't say while they copy. */
async function sizeOf(nix: Nix, paths: readonly string[]): Promise<number> {
  let size = 0;
  for (let begin = 0; begin < paths.length; begin += 1000) {
    const run = await nix.run("nix-store", ["--query", "--size", ...paths.slice(begin, begin + 1000)]);
    for (const line of run.stdout.split("\n")) size += Number(line);
  }
  return size;
}

/**
 * Makes nix-cache-info of a cache in a directory, or adds what Nix leaves out: that hosts may ask for many paths at once, and
 * that they ask it before cache.nixos.org, whose priority is 40.
 */
async function describeCache(directory: string, storeDir: string): Promise<void> {
  await makeDirectory(directory).catch((error: NodeJS.ErrnoException) => {
    throw new UnavailableError(`${directory} can't be made (${error.code})`);
  });
  const file = path.join(directory, "nix-cache-info");
  const text = await readFile(file, "utf8").catch(() => "");
  const wanted = [`StoreDir: ${storeDir}`, "WantMassQuery: 1", "Priority: 30"];
  const missing = wanted.filter((line) => !new RegExp(`^${line.replace(/:.*/, "")}:`, "m").test(text));
  if (missing.length === 0) return;
  const begin = text === "" || text.endsWith("\n") ? text : `${text}\n`;
  await writeFileAtomically(file, `${begin}${missing.join("\n")}\n`).catch((error: NodeJS.ErrnoException) => {
    throw new UnavailableError(`${file} can't be written (${error.code})`);
  });
}
