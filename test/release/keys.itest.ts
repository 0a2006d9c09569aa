import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { FleetError, UnavailableError } from "../../src/errors.ts";
import { requireSigner } from "../../src/release/envelope.ts";
import { type KeySource, openPrivateKey, sameKey } from "../../src/release/keys.ts";
import { scratch } from "../platform/scratch.ts";

let dir: Awaited<ReturnType<typeof scratch>>;
const made = new Map<string, { file: string; text: string; publicKey: string }>();

async function makeKey(name: string, ...options: string[]) {
  const file = path.join(dir.path, name);
  execFileSync("ssh-keygen", ["-q", "-C", `the comment of ${name}`, "-f", file, ...options]);
  const [type, body] = (await readFile(`${file}.pub`, "utf8")).split(" ");
  made.set(name, { file, text: await readFile(file, "utf8"), publicKey: `${type} ${body}` });
}

function key(name: string) {
  const found = made.get(name);
  if (found === undefined) throw new Error(`there is no key ${name}`);
  return found;
}

beforeAll(async () => {
  dir = await scratch();
  await makeKey("ed25519", "-t", "ed25519", "-N", "");
  await makeKey("ecdsa", "-t", "ecdsa", "-N", "");
  await makeKey("pem", "-t", "ecdsa", "-m", "PEM", "-N", "");
  await makeKey("locked", "-t", "ed25519", "-N", "a passphrase");
  await makeKey("locked-pem", "-t", "ecdsa", "-m", "PEM", "-N", "a passphrase");
});
afterAll(() => dir[Symbol.asyncDispose]());

/** What went wrong, as a user reads it; and nothing of it is a piece of the key. */
async function refusal(source: KeySource): Promise<FleetError> {
  const error = await openPrivateKey(source, "the signing key").catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FleetError);
  const text = "content" in source ? source.content : await readFile(source.file, "utf8").catch(() => "");
  const whole = [(error as FleetError).message, (error as FleetError).hint, String((error as FleetError).cause)].join();
  for (const line of text.split(/\r?\n/)) {
    if (line.length > 8 && !line.startsWith("-----")) expect(whole).not.toContain(line);
  }
  return error as FleetError;
}

test.each(["ed25519", "ecdsa", "pem"])("a key (%s), as text or as a file, and its public half", async (name) => {
  const { file, text, publicKey } = key(name);
  for (const source of [{ content: text }, { file }]) {
    let place: string;
    {
      await using opened = await openPrivateKey(source, "the signing key");
      place = opened.file;
      expect(opened.publicKey).toBe(publicKey);
      expect((await stat(place)).mode & 0o777).toBe(0o600);
      expect((await stat(path.dirname(place))).mode & 0o777).toBe(0o700);
    }
    expect(existsSync(path.dirname(place))).toBe(false);
  }
});

test.each<[string, (text: string) => string]>([
  ["its last line end lost", (text) => text.trimEnd()],
  ["line ends of Windows", (text) => text.replaceAll("\n", "\r\n")],
  ["blank lines around it", (text) => `\n\n${text}\n\n`],
  ["a file's byte order mark", (text) => `\ufeff${text}`],
])("a key that came through a form, with %s", async (_, change) => {
  const { text, publicKey } = key("ed25519");
  await using opened = await openPrivateKey({ content: change(text) }, "the signing key");
  expect(opened.publicKey).toBe(publicKey);
});

test("a key file that others can read, as a checkout or a mount makes it", async () => {
  const file = path.join(dir.path, "open");
  await writeFile(file, key("ed25519").text, { mode: 0o644 });
  await using opened = await openPrivateKey({ file }, "the signing key");
  expect((await stat(opened.file)).mode & 0o777).toBe(0o600);
  expect((await stat(file)).mode & 0o777).toBe(0o644);
});

test.each(["locked", "locked-pem"])(
  "a key with a passphrase (%s) is refused, and nobody is asked for it",
  async (name) => {
    const error = await refusal({ content: key(name).text });
    expect([error.message, error.hint]).toEqual([
      "the signing key is protected by a passphrase",
      "use a key without one, kept as a secret: bento keygen makes it",
    ]);
  },
);

test.each<[string, () => string]>([
  ["nothing", () => ""],
  ["white space", () => " \n\n"],
  ["a password", () => "correct horse battery staple"],
  ["one line, its line ends lost", () => key("ed25519").text.replaceAll("\n", " ")],
  ["half a key", () => key("ed25519").text.slice(0, 200)],
  ["a key with a letter changed", () => key("ed25519").text.replace(/b3BlbnNzaC/, "b3BlbnNzaD")],
])("not a key: %s", async (_, content) => {
  const error = await refusal({ content: content() });
  expect(error.message).toBe("the signing key is not an OpenSSH private key");
  expect(error.hint).toContain("-----BEGIN OPENSSH PRIVATE KEY-----");
});

test("what is given instead of a key: its public half, or the path of its file", async () => {
  const half = await refusal({ content: `${key("ed25519").publicKey} signing\n` });
  expect([half.message, half.hint]).toEqual([
    "the signing key is not an OpenSSH private key",
    "it is a public key: the private one is in the file without .pub",
  ]);
  for (const content of ["/home/ada/bento-keys/signing", "~/bento-keys/signing\n", "./signing"]) {
    expect((await refusal({ content })).hint, content).toMatch(
      /^it looks like a file's path, .* _FILE behind its name/,
    );
  }
});

test("a file that isn't there, and one that is a directory", async () => {
  const missing = path.join(dir.path, "missing");
  expect((await refusal({ file: missing })).message).toBe(`the signing key can't be read from ${missing} (ENOENT)`);
  const directory = path.join(dir.path, "directory");
  await mkdir(directory);
  expect((await refusal({ file: directory })).message).toBe(`the signing key can't be read from ${directory} (EISDIR)`);
});

test("a file that is no key: its text isn't shown", async () => {
  const file = path.join(dir.path, "no-key");
  await writeFile(file, "correct horse battery staple\n");
  expect((await refusal({ file })).message).toBe("the signing key is not an OpenSSH private key");
});

test("a refused key leaves no file behind", async () => {
  await using runner = await scratch();
  vi.stubEnv("RUNNER_TEMP", runner.path);
  try {
    await refusal({ content: key("locked").text });
    await refusal({ file: path.join(dir.path, "missing") });
    expect(execFileSync("ls", ["-A", runner.path]).toString()).toBe("");
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a machine without OpenSSH", async () => {
  vi.stubEnv("PATH", "/nonexistent");
  try {
    const error = await openPrivateKey({ content: key("ed25519").text }, "the key").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnavailableError);
    expect((error as Error).message).toBe("OpenSSH was not found on this machine (no ssh-keygen in PATH)");
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a key is the same whatever its comment", () => {
  const { publicKey } = key("ed25519");
  expect(sameKey(publicKey, `${publicKey} of somebody`)).toBe(true);
  expect(sameKey(publicKey, key("ecdsa").publicKey)).toBe(false);
});

test("the signing key must be one of the fleet's signers, or no host would listen", async () => {
  await using opened = await openPrivateKey({ content: key("ed25519").text }, "the signing key");
  requireSigner(opened, [key("ecdsa").publicKey, `${opened.publicKey} ci`]);
  for (const signers of [[], [key("ecdsa").publicKey]]) {
    let thrown: unknown;
    try {
      requireSigner(opened, signers);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(FleetError);
    const { message, hint } = thrown as FleetError;
    expect(message).toBe("the signing key is not one of the fleet's signers, so no host would accept what it signs");
    expect(hint).toContain(`'${opened.publicKey}'`);
    expect(hint).toContain(signers[0] ?? "fleet.yaml lists no signers");
  }
});
