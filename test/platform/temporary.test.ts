import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { temporaryDirectory, temporarySecretFile } from "../../src/platform/temporary.ts";
import { scratch } from "./scratch.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

test("a directory that only this user can enter, gone with the scope and all that is in it", async () => {
  let place: string;
  {
    await using dir = await temporaryDirectory();
    place = dir.path;
    expect((await stat(place)).mode & 0o777).toBe(0o700);
    await writeFile(path.join(place, "file"), "text");
  }
  expect(existsSync(place)).toBe(false);
});

test("on a runner it is where the runner cleans up", async () => {
  await using runner = await scratch();
  vi.stubEnv("RUNNER_TEMP", runner.path);
  await using dir = await temporaryDirectory();
  expect(path.dirname(dir.path)).toBe(runner.path);
});

test("a secret's file is this user's alone, ends with a line end, and goes with its directory", async () => {
  let place: string;
  {
    await using secret = await temporarySecretFile("key", "text");
    place = secret.path;
    expect((await stat(place)).mode & 0o777).toBe(0o600);
    expect(await readFile(place, "utf8")).toBe("text\n");
  }
  expect(existsSync(path.dirname(place))).toBe(false);
});
