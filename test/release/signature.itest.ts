import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { allowedSigners, NAMESPACE, SIGNER } from "../../src/release/envelope.ts";
import { isPlainlySigned, plainSigner } from "../../src/release/signature.ts";
import { scratch } from "../platform/scratch.ts";

let dir: Awaited<ReturnType<typeof scratch>>;
const keys = new Map<string, string>();

beforeAll(async () => {
  dir = await scratch();
  for (const name of ["ed25519", "other", "ecdsa", "rsa"]) {
    const type = name === "other" ? "ed25519" : name;
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "", "-f", path.join(dir.path, name)]);
    keys.set(name, readFileSync(path.join(dir.path, `${name}.pub`), "utf8").trim());
  }
});
afterAll(() => dir[Symbol.asyncDispose]());

function key(name = "ed25519"): string {
  const found = keys.get(name);
  if (found === undefined) throw new Error(`there is no key ${name}`);
  return found;
}

/** The signatures of messages, in their order, by the real ssh-keygen. */
function sign(messages: readonly Buffer[], { by = "ed25519", namespace = NAMESPACE, options = [] as string[] } = {}) {
  const files = messages.map((message, n) => {
    const file = path.join(dir.path, `message-${n}`);
    writeFileSync(file, message);
    return file;
  });
  const signing = ["-Y", "sign", "-q", "-n", namespace, "-f", path.join(dir.path, by), ...options];
  for (const file of files) {
    execFileSync("rm", ["-f", `${file}.sig`]);
  }
  execFileSync("ssh-keygen", [...signing, ...files]);
  return files.map((file) => readFileSync(`${file}.sig`, "utf8"));
}

/** What ssh-keygen says of it. */
function isSigned(message: Buffer, armored: string, signers: readonly string[]): boolean {
  const allowed = path.join(dir.path, "allowed_signers");
  const signature = path.join(dir.path, "signature");
  writeFileSync(allowed, allowedSigners(signers));
  writeFileSync(signature, armored);
  const options = ["-Y", "verify", "-q", "-f", allowed, "-I", SIGNER, "-n", NAMESPACE, "-s", signature];
  return spawnSync("ssh-keygen", options, { input: message }).status === 0;
}

const MESSAGE = Buffer.from('{"version":1,"host":"web"}');

/** The signature, with its bytes changed. */
function changed(armored: string, change: (blob: Buffer) => Buffer): string {
  const lines = armored.trimEnd().split("\n");
  const blob = change(Buffer.from(lines.slice(1, -1).join(""), "base64"));
  const text = blob.toString("base64").replace(/.{70}/g, "$&\n").trimEnd();
  return `${lines[0]}\n${text}\n${lines.at(-1)}\n`;
}

test("what ssh-keygen signs with ed25519, of any length, it also finds signed", () => {
  const messages = [0, 1, 63, 64, 127, 128, 1000, 20_000].map((size) => Buffer.alloc(size, 0xe9));
  for (const [n, armored] of sign(messages).entries()) {
    const message = messages[n] ?? MESSAGE;
    expect(isPlainlySigned(message, armored, NAMESPACE, [key("other"), `${key()} the runner's`])).toBe(true);
    expect(isSigned(message, armored, [key("other"), `${key()} the runner's`])).toBe(true);
    expect(isPlainlySigned(Buffer.concat([message, Buffer.from(" ")]), armored, NAMESPACE, [key()])).toBe(false);
  }
});

test("what is signed here is what ssh-keygen signs; other keys are left to it", async () => {
  const messages = [0, 1, 127, 128, 20_000].map((size) => Buffer.alloc(size, 0xe9));
  const signer = await plainSigner(readFileSync(path.join(dir.path, "ed25519"), "utf8"), NAMESPACE);
  expect(messages.map((message) => signer?.(message))).toEqual(sign(messages));
  for (const other of ["rsa", "ecdsa"]) {
    expect(await plainSigner(readFileSync(path.join(dir.path, other), "utf8"), NAMESPACE)).toBeUndefined();
  }
});

test("no bit of a signature can be another", () => {
  const [armored = ""] = sign([MESSAGE]);
  const unchanged = changed(armored, (blob) => blob);
  expect(unchanged).toBe(armored);
  const length = Buffer.from(armored.split("\n").slice(1, -2).join(""), "base64").length;
  expect(length).toBeGreaterThan(150);
  for (let bit = 0; bit < length * 8; bit++) {
    const other = changed(armored, (blob) => {
      blob[bit >> 3] = (blob[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return blob;
    });
    expect(isPlainlySigned(MESSAGE, other, NAMESPACE, [key()]), `bit ${bit}`).toBe(false);
  }
});

test("nor any bit of the signer's key", () => {
  const [armored = ""] = sign([MESSAGE]);
  const [type, body = ""] = key().split(" ");
  const blob = Buffer.from(body, "base64");
  for (let bit = 0; bit < blob.length * 8; bit++) {
    const other = Buffer.from(blob);
    other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(isPlainlySigned(MESSAGE, armored, NAMESPACE, [`${type} ${other.toString("base64")}`])).toBe(false);
  }
});

test("what is cut off anywhere, or goes on", () => {
  const [armored = ""] = sign([MESSAGE]);
  for (let length = 0; length < armored.length; length++) {
    expect(isPlainlySigned(MESSAGE, armored.slice(0, length), NAMESPACE, [key()])).toBe(false);
  }
  for (const wrong of [`${armored}\n`, ` ${armored}`, armored.replaceAll("\n", "\r\n"), `${armored}${armored}`]) {
    expect(isPlainlySigned(MESSAGE, wrong, NAMESPACE, [key()])).toBe(false);
  }
  const longer = changed(armored, (blob) => Buffer.concat([blob, Buffer.from([0])]));
  expect(isPlainlySigned(MESSAGE, longer, NAMESPACE, [key()])).toBe(false);
});

test("another signer, no signer, another purpose", () => {
  const [armored = ""] = sign([MESSAGE]);
  expect(isPlainlySigned(MESSAGE, armored, NAMESPACE, [key("other")])).toBe(false);
  expect(isPlainlySigned(MESSAGE, armored, NAMESPACE, [])).toBe(false);
  for (const namespace of ["git", `${NAMESPACE}s`, "bento-releas"]) {
    const [foreign = ""] = sign([MESSAGE], { namespace });
    expect(isPlainlySigned(MESSAGE, foreign, NAMESPACE, [key()])).toBe(false);
    expect(isSigned(MESSAGE, foreign, [key()])).toBe(false);
  }
});

test("a key of which only the type's name is ed25519's, and a signer that is none", () => {
  const [armored = ""] = sign([MESSAGE], { by: "ecdsa" });
  const [, body = ""] = key("ecdsa").split(" ");
  for (const signer of [`ssh-ed25519 ${body}`, "ssh-ed25519", "", "ssh-ed25519 AAAA"]) {
    expect(isPlainlySigned(MESSAGE, armored, NAMESPACE, [signer])).toBe(false);
  }
});

test("what is signed in another way is left to ssh-keygen", () => {
  const others = [
    { signer: "ecdsa", armored: sign([MESSAGE], { by: "ecdsa" })[0] ?? "" },
    { signer: "rsa", armored: sign([MESSAGE], { by: "rsa" })[0] ?? "" },
    { signer: "ed25519", armored: sign([MESSAGE], { options: ["-O", "hashalg=sha256"] })[0] ?? "" },
  ];
  for (const { signer, armored } of others) {
    expect(isSigned(MESSAGE, armored, [key(signer)])).toBe(true);
    expect(isPlainlySigned(MESSAGE, armored, NAMESPACE, [key(signer)])).toBe(false);
  }
});
