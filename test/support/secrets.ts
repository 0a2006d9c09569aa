import { mkdir } from "node:fs/promises";
import path from "node:path";
import { succeed } from "./programs.ts";

/** Writes a secret as `bento secret set` does: `value`, encrypted to an ssh public key. */
export async function encrypt(value: string, publicKey: string, file: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  await succeed("age", ["-r", publicKey, "-o", file], { input: value });
}
