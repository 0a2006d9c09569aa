import { createHash, createPublicKey, verify } from "node:crypto";

/**
 * Whether `armored` is a signature of `message` by one of `signers`, as `ssh-keygen -Y sign` makes it with an ed25519 key
 * (PROTOCOL.sshsig of OpenSSH). False says nothing: it may be signed in another way, which is for ssh-keygen to tell; true is
 * what ssh-keygen says as well. A process for each of a thousand hosts would take longer than all else.
 *
 * Nothing is parsed: but for the signature's own 64 bytes there is only one text that it can be.
 */
export function isPlainlySigned(
  message: Buffer,
  armored: string,
  namespace: string,
  signers: readonly string[],
): boolean {
  const text = ARMOR.exec(armored)?.[1];
  if (text === undefined) return false;
  const blob = Buffer.from(text, "base64");
  // One that would be written in another way is not for us to judge.
  if (blob.toString("base64") !== text.replaceAll("\n", "")) return false;
  return signers.some((signer) => {
    const [type, body = ""] = signer.split(" ");
    const key = Buffer.from(body, "base64");
    const point = key.subarray(-32);
    if (type !== ED25519 || !key.equals(Buffer.concat([field(ED25519), field(point)]))) return false;
    const signature = blob.subarray(-64);
    if (!blob.equals(blobOf(key, namespace, signature))) return false;
    const jwk = { kty: "OKP", crv: "Ed25519", x: point.toString("base64url") };
    return verify(null, signedData(message, namespace), createPublicKey({ key: jwk, format: "jwk" }), signature);
  });
}

/**
 * Signs messages with an ed25519 key, each byte for byte as `ssh-keygen -Y sign` does it; undefined for other keys, and for what
 * only ssh-keygen can read. `privateKey`: OpenSSH's text of it.
 */
export async function plainSigner(
  privateKey: string,
  namespace: string,
): Promise<((message: Buffer) => string) | undefined> {
  // Who signs nothing does without it.
  const { default: ssh2 } = await import("ssh2");
  const parsed = ssh2.utils.parseKey(privateKey);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined || key instanceof Error || key.type !== ED25519) return undefined;
  const publicKey = key.getPublicSSH();
  return (message) => {
    const signature: Buffer | Error = key.sign(signedData(message, namespace));
    if (signature instanceof Error) throw signature;
    const text = blobOf(publicKey, namespace, signature).toString("base64");
    const lines = text.match(/.{1,70}/g)?.join("\n");
    return `-----BEGIN SSH SIGNATURE-----\n${lines}\n-----END SSH SIGNATURE-----\n`;
  };
}

function purposeOf(namespace: string): Buffer[] {
  return [field(namespace), field(""), field(HASH)];
}

/** What is signed of a message. */
function signedData(message: Buffer, namespace: string): Buffer {
  const digest = createHash(HASH).update(message).digest();
  return Buffer.concat([MAGIC, ...purposeOf(namespace), field(digest)]);
}

/** `key`: the public one, in the form in which ssh sends it. */
function blobOf(key: Buffer, namespace: string, signature: Buffer): Buffer {
  const signed = field(Buffer.concat([field(ED25519), field(signature)]));
  return Buffer.concat([MAGIC, VERSION, field(key), ...purposeOf(namespace), signed]);
}

const ARMOR =
  /^-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/]+\n)*[A-Za-z0-9+/]+={0,2})\n-----END SSH SIGNATURE-----\n$/;
const MAGIC = Buffer.from("SSHSIG");
const VERSION = Buffer.from([0, 0, 0, 1]);
const ED25519 = "ssh-ed25519";
const HASH = "sha512";

/** A string as ssh's formats have it (RFC 4251, section 5): its length in 32 bits, and its bytes. */
function field(value: string | Buffer): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
