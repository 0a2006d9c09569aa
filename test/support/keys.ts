import { readFile } from "node:fs/promises";
import { succeed } from "./programs.ts";

export interface KeyPair {
  /** The private key's file. */
  file: string;
  /** `ssh-ed25519 AAAA…`, without a comment. */
  publicKey: string;
}

export async function makeKey(file: string, type = "ed25519"): Promise<KeyPair> {
  await succeed("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "", "-f", file]);
  return { file, publicKey: (await readFile(`${file}.pub`, "utf8")).trim() };
}
