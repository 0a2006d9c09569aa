import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { FleetError } from "../errors.ts";
import { run } from "../platform/process.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import { needsOpenSsh, type PrivateKey, sameKey } from "./keys.ts";
import { type Manifest, manifestSchema } from "./manifest.ts";
import { isPlainlySigned, plainSigner } from "./signature.ts";

/**
 * The envelope: what a host is given of a release. One file, `{ "payload": base64 of the manifest's bytes, "signature": armored
 * ssh signature }` (PROTOCOL.sshsig of OpenSSH), so that a manifest and its signature can't be torn apart.
 */
const envelopeSchema = z.strictObject({
  payload: z.base64().min(1),
  signature: z.string().startsWith("-----BEGIN SSH SIGNATURE-----"),
});

export const NAMESPACE = "bento-release";
/** Whom allowed_signers calls the keys in fleet.yaml's `signers`. */
export const SIGNER = "bento";
/** An envelope is read in one go by every poll of every host. */
export const MAX_ENVELOPE = 16 * 1024;

export type Opened = { ok: true; manifest: Manifest } | { ok: false; problem: string };

/** @throws FleetError when releases signed with `key` would be refused by every host. */
export function requireSigner(key: PrivateKey, signers: readonly string[]): void {
  if (signers.some((signer) => sameKey(signer, key.publicKey))) return;
  const listed = signers.length === 0 ? "fleet.yaml lists no signers" : `signers in fleet.yaml: ${signers.join(", ")}`;
  throw new FleetError(`the signing key is not one of the fleet's signers, so no host would accept what it signs`, {
    hint: `its public half is '${key.publicKey}'; ${listed}`,
  });
}

/** Signs a manifest, and gives the envelope's text. */
export async function seal(manifest: Manifest, key: PrivateKey): Promise<string> {
  return await (await sealer(key))(manifest);
}

/** Gives what signs manifests, as `ssh-keygen -Y sign` does, and makes their envelopes' texts. */
export async function sealer(key: PrivateKey): Promise<(manifest: Manifest) => Promise<string>> {
  const plainly = await plainSigner(await readFile(key.file, "utf8"), NAMESPACE);
  return async (manifest) => {
    const payload = Buffer.from(JSON.stringify(manifestSchema.parse(manifest)));
    const signature = plainly?.(payload) ?? (await sign(payload, key));
    const envelope = `${JSON.stringify({ payload: payload.toString("base64"), signature })}\n`;
    if (envelope.length > MAX_ENVELOPE) throw new FleetError(`the manifest of ${manifest.host} is too large`);
    return envelope;
  };
}

async function sign(payload: Buffer, key: PrivateKey): Promise<string> {
  const signing = ["-Y", "sign", "-q", "-n", NAMESPACE, "-f", key.file];
  const result = await run("ssh-keygen", signing, { input: payload }).catch(needsOpenSsh);
  if (result.status !== 0) throw new FleetError("ssh-keygen could not sign with the signing key");
  return result.stdout;
}

/**
 * Checks an envelope as a host does: its signature by one of `signers` (as `ssh-keygen -Y verify` does), its manifest, and that
 * it is `host`'s. What is wrong with it is a result; the text is foreign.
 */
export async function open(text: string, host: string, signers: readonly string[]): Promise<Opened> {
  if (text.length > MAX_ENVELOPE) return { ok: false, problem: "the envelope is too large" };
  const envelope = envelopeSchema.safeParse(parseJson(text));
  if (!envelope.success) return { ok: false, problem: "it is not an envelope" };
  const payload = Buffer.from(envelope.data.payload, "base64");
  if (!(await isSigned(payload, envelope.data.signature, signers))) {
    return { ok: false, problem: "it is not signed by one of the fleet's signers" };
  }
  const manifest = manifestSchema.safeParse(parseJson(payload.toString("utf8")));
  if (!manifest.success)
    return { ok: false, problem: `its manifest is not one of version 1: ${z.prettifyError(manifest.error)}` };
  if (manifest.data.host !== host)
    return { ok: false, problem: `it is the release of another host, ${manifest.data.host}` };
  return { ok: true, manifest: manifest.data };
}

/**
 * The manifest of an envelope that was made here, or was opened already: nothing is verified.
 * @throws when it is none.
 */
export function payloadOf(text: string): Manifest {
  const { payload } = envelopeSchema.parse(parseJson(text));
  return manifestSchema.parse(parseJson(Buffer.from(payload, "base64").toString("utf8")));
}

/** The sequence of an envelope, of which nothing is verified; undefined when it is none. */
export function sequenceOf(text: string): number | undefined {
  try {
    return payloadOf(text).sequence;
  } catch {
    return undefined;
  }
}

async function isSigned(payload: Buffer, signature: string, signers: readonly string[]): Promise<boolean> {
  if (isPlainlySigned(payload, signature, NAMESPACE, signers)) return true;
  await using dir = await temporaryDirectory();
  const allowed = path.join(dir.path, "allowed_signers");
  const signatureFile = path.join(dir.path, "signature");
  await writeFile(allowed, allowedSigners(signers));
  await writeFile(signatureFile, signature);
  const result = await run(
    "ssh-keygen",
    ["-Y", "verify", "-q", "-f", allowed, "-I", SIGNER, "-n", NAMESPACE, "-s", signatureFile],
    { input: payload },
  ).catch(needsOpenSsh);
  return result.status === 0;
}

/** The lines of an allowed_signers file (ssh-keygen(1)). */
export function allowedSigners(signers: readonly string[]): string {
  return signers.map((key) => `${SIGNER} namespaces="${NAMESPACE}" ${key}\n`).join("");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
