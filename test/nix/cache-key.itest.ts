import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { makeCacheKey, openCacheKey } from "../../src/nix/cache-key.ts";
import { scratch } from "../platform/scratch.ts";

const WHAT = "the binary cache's signing key";

test("a key that Nix has made is taken, and its public half is the one that Nix has made", async () => {
  await using dir = await scratch();
  const [secret, pub] = [path.join(dir.path, "secret"), path.join(dir.path, "public")];
  execFileSync("nix-store", ["--generate-binary-cache-key", "cache.example.org-1", secret, pub], { stdio: "ignore" });
  await using key = await openCacheKey({ file: secret }, WHAT);
  expect(key.publicKey).toBe(readFileSync(pub, "utf8").trim());
  expect(statSync(key.file).mode & 0o777).toBe(0o600);
});

test("Nix takes a key that is made here, however it went through a web form", async () => {
  const { secretKey, publicKey } = makeCacheKey("cache.example.org-1");
  await using key = await openCacheKey({ content: `\r\n${secretKey}\r\n` }, WHAT);
  expect(key.publicKey).toBe(publicKey);
  const asNix = execFileSync(
    "nix",
    ["--extra-experimental-features", "nix-command", "key", "convert-secret-to-public"],
    { input: readFileSync(key.file), stdio: ["pipe", "pipe", "ignore"] },
  );
  expect(asNix.toString().trim()).toBe(publicKey);
});

const { secretKey, publicKey } = makeCacheKey("cache-1");
const damaged = secretKey.slice(0, 12) + (secretKey[12] === "A" ? "B" : "A") + secretKey.slice(13);

test.each([
  ["nothing", ""],
  ["the public half", publicKey],
  ["one without a name", secretKey.replace("cache-1", "")],
  ["one that is cut off", secretKey.slice(0, -10)],
  ["one with a letter wrong", damaged],
  ["a key of ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"],
])("%s is refused, and not repeated", async (_, content) => {
  await using dir = await scratch();
  process.env.RUNNER_TEMP = dir.path;
  const error = await openCacheKey({ content }, WHAT).catch((error) => error);
  delete process.env.RUNNER_TEMP;
  expect(error.exitStatus).toBe(2);
  expect(error.message).toBe("the binary cache's signing key is not a secret key of a binary cache");
  if (content !== "") expect(JSON.stringify([error.message, error.hint])).not.toContain(content.slice(8, 40));
  expect(await readdir(dir.path)).toEqual([]);
});
