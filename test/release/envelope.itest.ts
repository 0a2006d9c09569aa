import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FleetError } from "../../src/errors.ts";
import { allowedSigners, MAX_ENVELOPE, open, seal } from "../../src/release/envelope.ts";
import { openPrivateKey, type PrivateKey } from "../../src/release/keys.ts";
import type { Manifest } from "../../src/release/manifest.ts";
import { scratch } from "../platform/scratch.ts";
import { manifest, nameOf } from "./manifest.ts";

let dir: Awaited<ReturnType<typeof scratch>>;
let ci: PrivateKey;
let other: PrivateKey;

beforeAll(async () => {
  dir = await scratch();
  const keys: PrivateKey[] = [];
  for (const name of ["ci", "other"]) {
    const file = path.join(dir.path, name);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file]);
    keys.push(await openPrivateKey({ file }, name));
  }
  [ci, other] = keys as [PrivateKey, PrivateKey];
});
afterAll(async () => {
  await ci[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

/** An envelope around any payload, signed with the real ssh-keygen. */
async function envelopeOf(payload: string | Buffer, { key = ci, namespace = "bento-release" } = {}): Promise<string> {
  const signature = execFileSync("ssh-keygen", ["-Y", "sign", "-q", "-n", namespace, "-f", key.file], {
    input: payload,
  });
  return JSON.stringify({ payload: Buffer.from(payload).toString("base64"), signature: signature.toString() });
}

async function problem(text: string, host = "web", signers = [ci.publicKey]): Promise<string> {
  const opened = await open(text, host, signers);
  if (opened.ok) throw new Error("it was accepted");
  return opened.problem;
}

const NOT_SIGNED = "it is not signed by one of the fleet's signers";

test("what is sealed can be opened by who knows the signer, whatever the key's comment", async () => {
  const made = manifest({ subject: 'é "quotes" \u{1f40e}' });
  const text = await seal(made, ci);
  expect(text.endsWith("\n")).toBe(true);
  for (const signers of [[ci.publicKey], [other.publicKey, `${ci.publicKey} the runner's`]]) {
    expect(await open(text, "web", signers)).toEqual({ ok: true, manifest: made });
  }
});

test("the envelope is what the design says, and the agent's own tools verify it", async () => {
  const envelope = JSON.parse(await seal(manifest(), ci));
  expect(Object.keys(envelope)).toEqual(["payload", "signature"]);
  const payload = Buffer.from(envelope.payload, "base64");
  expect(JSON.parse(payload.toString())).toEqual(manifest());
  await writeFile(path.join(dir.path, "signers"), allowedSigners([ci.publicKey]));
  await writeFile(path.join(dir.path, "signature"), envelope.signature);
  const files = ["-f", path.join(dir.path, "signers"), "-s", path.join(dir.path, "signature")];
  execFileSync("ssh-keygen", ["-Y", "verify", "-q", "-I", "bento", "-n", "bento-release", ...files], {
    input: payload,
  });
});

test("the signers' file holds each key to this one purpose", () => {
  expect(allowedSigners(["ssh-ed25519 AAAA ci", "ssh-rsa BBBB"])).toBe(
    'bento namespaces="bento-release" ssh-ed25519 AAAA ci\nbento namespaces="bento-release" ssh-rsa BBBB\n',
  );
});

test("another signer, and no signers at all", async () => {
  const text = await seal(manifest(), other);
  expect(await problem(text)).toBe(NOT_SIGNED);
  expect(await problem(text, "web", [])).toBe(NOT_SIGNED);
});

test("a payload of which one letter is another", async () => {
  const envelope = JSON.parse(await seal(manifest(), ci));
  const payload = Buffer.from(envelope.payload, "base64").toString();
  const tampered = Buffer.from(payload.replace("1795430400000", "1795430400001")).toString("base64");
  expect(tampered).not.toBe(envelope.payload);
  expect(await problem(JSON.stringify({ ...envelope, payload: tampered }))).toBe(NOT_SIGNED);
});

test("one release's payload with another's signature", async () => {
  const one = JSON.parse(await seal(manifest(), ci));
  const two = JSON.parse(await seal(manifest({ sequence: 1_795_430_400_001 }), ci));
  expect(await problem(JSON.stringify({ payload: two.payload, signature: one.signature }))).toBe(NOT_SIGNED);
});

test("a signature that was made for something else", async () => {
  for (const namespace of ["git", "file", "bento-releases"]) {
    expect(await problem(await envelopeOf(JSON.stringify(manifest()), { namespace }))).toBe(NOT_SIGNED);
  }
});

test("another host's release", async () => {
  expect(await problem(await seal(manifest(), ci), "nas")).toBe("it is the release of another host, web");
});

test("junk behind the signature changes nothing: a signature's bytes are no identity", async () => {
  const envelope = JSON.parse(await seal(manifest(), ci));
  const text = JSON.stringify({ ...envelope, signature: `${envelope.signature}junk\n` });
  expect(await open(text, "web", [ci.publicKey])).toEqual({ ok: true, manifest: manifest() });
});

test.each<[string, (envelope: { payload: string; signature: string }) => unknown]>([
  ["nothing", () => undefined],
  ["a list", () => []],
  ["null", () => null],
  ["no signature", ({ payload }) => ({ payload })],
  ["no payload", ({ signature }) => ({ signature })],
  ["an empty payload", ({ signature }) => ({ payload: "", signature })],
  ["a payload that isn't base64", ({ signature }) => ({ payload: "a b", signature })],
  ["a payload that isn't text", ({ signature }) => ({ payload: 1, signature })],
  ["a signature of another kind", ({ payload }) => ({ payload, signature: "-----BEGIN PGP SIGNATURE-----" })],
  ["something more", (envelope) => ({ ...envelope, more: 1 })],
])("not an envelope: %s", async (_, change) => {
  const text = JSON.stringify(change(JSON.parse(await seal(manifest(), ci)))) ?? "";
  expect(await problem(text)).toBe("it is not an envelope");
});

test("not JSON, and JSON that goes on", async () => {
  const text = await seal(manifest(), ci);
  for (const wrong of ["", "{", "<html>", `${text}${text}`]) expect(await problem(wrong)).toBe("it is not an envelope");
});

test("a signature that is cut", async () => {
  const envelope = JSON.parse(await seal(manifest(), ci));
  const signature = envelope.signature.slice(0, 120);
  expect(await problem(JSON.stringify({ ...envelope, signature }))).toBe(NOT_SIGNED);
});

test("what is signed and still no manifest of version 1", async () => {
  const wrong = ["{}", "null", "not JSON", JSON.stringify({ ...manifest(), version: 2 }), Buffer.from([0xff, 0xfe])];
  for (const payload of wrong) {
    expect(await problem(await envelopeOf(payload))).toMatch(/^its manifest is not one of version 1: /);
  }
});

test("an envelope too large to be one isn't looked at", async () => {
  const envelope = JSON.parse(await seal(manifest(), ci));
  const text = JSON.stringify({ ...envelope, signature: envelope.signature + "\n".repeat(MAX_ENVELOPE) });
  expect(await problem(text)).toBe("the envelope is too large");
});

test("a manifest that hosts would refuse isn't sealed", async () => {
  const large = seal(manifest({ subject: "x".repeat(MAX_ENVELOPE) }), ci);
  await expect(large).rejects.toThrow(new FleetError("the manifest of web is too large"));
  await expect(seal({ ...manifest(), commit: "HEAD" }, ci)).rejects.toThrow();
  await expect(seal({ ...manifest(), more: 1 } as Manifest, ci)).rejects.toThrow();
});

test("the largest history there can be fits", async () => {
  const made = manifest({ history: ["2", "3", "4", "5"].map(nameOf), subject: "x".repeat(2000) });
  expect((await open(await seal(made, ci), "web", [ci.publicKey])).ok).toBe(true);
});

test("a key that can't sign", async () => {
  const file = path.join(dir.path, "broken");
  await writeFile(file, (await readFile(ci.file, "utf8")).slice(0, 100), { mode: 0o600 });
  const broken: PrivateKey = { file, publicKey: ci.publicKey, [Symbol.asyncDispose]: () => Promise.resolve() };
  await expect(seal(manifest(), broken)).rejects.toThrow("ssh-keygen could not sign with the signing key");
});
