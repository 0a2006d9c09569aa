import { createHash } from "node:crypto";

/**
 * age's recipients, as `age --recipient` takes them: ssh public keys, and its own (`age1…`, also those of plugins), which are
 * bech32 (BIP 173, without its limit of length).
 */

const LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];

/** Whether a line begins with a recipient of age's own, checksum and all: a letter that is mistyped is found here. */
export function isAgeRecipient(line: string): boolean {
  const [text = ""] = line.split(" ");
  const end = text.lastIndexOf("1");
  const prefix = text.slice(0, end);
  const values = [...text.slice(end + 1)].map((letter) => LETTERS.indexOf(letter));
  if (!/^age(?:1[a-z0-9+._-]+)?$/.test(prefix) || values.length < 7 || values.includes(-1)) return false;
  const codes = [...prefix].map((letter) => letter.charCodeAt(0));
  return checksum([...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31), ...values]) === 1;
}

function checksum(values: readonly number[]): number {
  return values.reduce((sum, value) => {
    const top = sum >>> 25;
    return GENERATOR.reduce(
      (next, term, bit) => ((top >>> bit) & 1 ? next ^ term : next),
      ((sum & 0x1ffffff) << 5) ^ value,
    );
  }, 1);
}

/** Whether age can encrypt to an ssh key. Of the kinds that log in, it can't to ECDSA ones. */
export function canReceive(key: string): boolean {
  return /^ssh-(?:ed25519|rsa) /.test(key);
}

/** What age takes: without the name behind it. */
export function withoutName(recipient: string): string {
  return recipient
    .split(" ")
    .slice(0, recipient.startsWith("age1") ? 1 : 2)
    .join(" ");
}

/** How an encrypted file names those who can read it: ssh keys by type and tag, others by their number alone. */
export interface Readers {
  /** Sorted. */
  ssh: string[];
  others: number;
}

/** The readers that a file for these recipients has. */
export function readersOf(recipients: readonly string[]): Readers {
  const distinct = [...new Set(recipients.map(withoutName))];
  const ssh = distinct.filter((recipient) => recipient.startsWith("ssh-")).map(sshTag);
  return { ssh: ssh.sort(), others: distinct.length - ssh.length };
}

/** `ssh-ed25519 TAG`: the first four bytes of the key's SHA-256, as age has them in a file's header. */
function sshTag(key: string): string {
  const [type, body = ""] = key.split(" ");
  return `${type} ${unpadded(createHash("sha256").update(Buffer.from(body, "base64")).digest().subarray(0, 4))}`;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}

const ARMOR = "-----BEGIN AGE ENCRYPTED FILE-----";

/** The readers that a file has, by its header (age-encryption.org/v1); null for what is no file of age's. */
export function readersIn(file: Buffer): Readers | null {
  const text = file.toString("latin1").trimStart();
  const plain = text.startsWith(ARMOR)
    ? Buffer.from(text.slice(ARMOR.length, text.indexOf("-----END")), "base64").toString("latin1")
    : text;
  if (!plain.startsWith("age-encryption.org/v1\n")) return null;
  const ssh: string[] = [];
  let others = 0;
  for (const line of plain.split("\n")) {
    if (line.startsWith("---")) return { ssh: ssh.sort(), others };
    const [arrow, type = "", tag = ""] = line.split(" ");
    if (arrow !== "->") continue;
    if (type.startsWith("ssh-")) ssh.push(`${type} ${tag}`);
    // Some programs put in recipients that nobody is, so that readers learn to pass over what they don't know.
    else if (!type.endsWith("-grease")) others += 1;
  }
  return null;
}
