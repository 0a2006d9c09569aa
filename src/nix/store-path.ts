import { createHash } from "node:crypto";

/** Nix's own base 32: no e, o, t or u. */
const DIGITS = "0123456789abcdfghijklmnpqrsvwxyz";

/**
 * The store path that a directory has once Nix has copied it there, as it does with the source of a `path:` flake: a fixed-output
 * path named after its NAR hash (Nix manual, "Store Path Specification").
 *
 * @param digest SRI sha256 of the directory's NAR.
 */
export function sourcePath(digest: string, storeDir: string, name = "source"): string {
  const hash = Buffer.from(digest.replace(/^sha256-/, ""), "base64").toString("hex");
  const fingerprint = createHash("sha256").update(`source:sha256:${hash}:${storeDir}:${name}`).digest();
  return `${storeDir}/${base32(folded(fingerprint, 20))}-${name}`;
}

/** A hash made shorter, by XOR of what goes beyond `size` bytes. */
function folded(hash: Buffer, size: number): Buffer {
  const result = Buffer.alloc(size);
  hash.forEach((byte, index) => {
    const at = index % size;
    result[at] = (result[at] ?? 0) ^ byte;
  });
  return result;
}

/** Five bits a digit, the last bits first. */
function base32(bytes: Buffer): string {
  const length = Math.ceil((bytes.length * 8) / 5);
  let text = "";
  for (let n = length - 1; n >= 0; n--) {
    const bit = n * 5;
    const at = bit >> 3;
    const shift = bit & 7;
    const pair = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    text += DIGITS[(pair >> shift) & 31];
  }
  return text;
}
