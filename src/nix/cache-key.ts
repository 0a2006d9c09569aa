import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { FleetError } from "../errors.ts";
import { temporarySecretFile } from "../platform/temporary.ts";
import type { KeySource } from "../release/keys.ts";

/** A key that signs store paths, as Nix has it: `NAME:BASE64`, of an ed25519 seed and the public key after it. */
export interface CacheKey extends AsyncDisposable {
  /** A file of mode 0600 that only this program and Nix read; it goes with the scope. */
  readonly file: string;
  /** Its public half, `NAME:BASE64`, as substituters in fleet.yaml and trusted-public-keys in nix.conf have it. */
  readonly publicKey: string;
}

/** Before the 32 bytes of a seed, PKCS #8 of an ed25519 key has these (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
export const KEY_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * Makes a key usable by Nix. `what` says in errors which key it is.
 * @throws FleetError for a key that is malformed or can't be read. Its text is never part of it.
 */
export async function openCacheKey(source: KeySource, what: string): Promise<CacheKey> {
  const text = "content" in source ? source.content : await readKey(source.file, what);
  const key = text.trim();
  const publicKey = publicHalf(key);
  if (publicKey === undefined) {
    throw new FleetError(`${what} is not a secret key of a binary cache`, {
      hint: "it is one line, NAME:BASE64, as bento keygen --cache NAME or nix-store --generate-binary-cache-key makes it",
    });
  }
  const copy = await temporarySecretFile("cache-key", key);
  return { file: copy.path, publicKey, [Symbol.asyncDispose]: () => copy[Symbol.asyncDispose]() };
}

async function readKey(file: string, what: string): Promise<string> {
  return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new FleetError(`${what} can't be read from ${file} (${error.code})`);
  });
}

/** Undefined for what is no secret key, or one whose halves don't belong together. */
function publicHalf(key: string): string | undefined {
  const [, name, body = ""] = /^([^\s:]+):([A-Za-z0-9+/]{86}==)$/.exec(key) ?? [];
  if (name === undefined) return undefined;
  const bytes = Buffer.from(body, "base64");
  const seed = createPrivateKey({ key: Buffer.concat([PKCS8, bytes.subarray(0, 32)]), format: "der", type: "pkcs8" });
  const half = Buffer.from(createPublicKey(seed).export({ format: "jwk" }).x ?? "", "base64url");
  return half.equals(bytes.subarray(32)) ? `${name}:${half.toString("base64")}` : undefined;
}

/** A new key of this name: both halves, each a line as Nix has it. */
export function makeCacheKey(name: string): { secretKey: string; publicKey: string } {
  const { d = "", x = "" } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const [seed, half] = [Buffer.from(d, "base64url"), Buffer.from(x, "base64url")];
  return {
    secretKey: `${name}:${Buffer.concat([seed, half]).toString("base64")}`,
    publicKey: `${name}:${half.toString("base64")}`,
  };
}
