import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { CLI, onlyEnvironment } from "../cli/bento.ts";
import { inStore, nixpkgs } from "../modules/nixos.ts";
import { scratch } from "../platform/scratch.ts";
import { makeKey } from "../support/keys.ts";
import { exec, succeed } from "../support/programs.ts";

// The flake's template, by what it says when Nix has made it, up to a check of a real NixOS system with the flake's module.

test.skipIf(!nixpkgs)("what it says leads to a green check", { timeout: 400_000 }, async () => {
  await using dir = await scratch();
  const at = (...names: string[]) => path.join(dir.path, ...names);
  // `github:bento-nix/bento?dir=nix`, and the commands that a reader has.
  for (const part of ["dist", "utils", "share", "nix", ".github", "default.nix", "action.yml", "package.json"])
    await cp(path.join(packageRoot(), part), at("bento", part), { recursive: true });
  const env = onlyEnvironment({
    HOME: at("home"),
    PATH: `${at("bin")}:${process.env.PATH}`,
    NIX_CONFIG: "experimental-features = nix-command flakes",
    XDG_CACHE_HOME: at("cache"),
  });
  for (const place of ["home", "bin", "fleet"]) await mkdir(at(place));
  const git = (...args: string[]) => succeed("git", args, { env });
  await git("config", "--global", "user.name", "Ada");
  await git("config", "--global", "user.email", "ada@example.org");
  await git("init", "-q", at("bento"));
  await git("-C", at("bento"), "add", "-A");
  await git("-C", at("bento"), "commit", "-q", "-m", "Bento");
  const flake = `git+file://${at("bento")}?dir=nix`;
  const nix = await succeed("sh", ["-c", "command -v nix"]);
  const overridden = `--override-input nixpkgs 'path:${await inStore(nixpkgs ?? "")}' --override-input bento '${flake}'`;
  const program = (name: string, script: string) =>
    writeFile(at("bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  await program("bento", `exec ${process.execPath} ${CLI} "$@"`);
  // What the template has its inputs from isn't reached from here.
  await program("nix", `case "$1 $2" in "flake lock") exec ${nix} "$@" ${overridden} ;; *) exec ${nix} "$@" ;; esac`);

  const cwd = at("fleet");
  const made = await exec("nix", ["flake", "init", "-t", flake], { cwd, env });
  expect(made.status, made.stderr).toBe(0);
  const welcome: string = JSON.parse(
    await succeed("nix", ["eval", "--json", `${flake}#templates.default.welcomeText`], { env }),
  );
  const said = welcome.split("\n").flatMap((line) => /^ {4}(.*)/.exec(line)?.[1] ?? []);
  // Each on a line of its own, as Nix shows it.
  const shown = made.stderr.split("\n").map((line) => line.replace(/^ *[|│]? */, "").trimEnd());
  expect(shown).toEqual(expect.arrayContaining(said));

  let status = await exec("true", []);
  for (const line of said) {
    if (line.startsWith("#")) {
      await writeFile(at("fleet/fleet.yaml"), filledIn(await readFile(at("fleet/fleet.yaml"), "utf8"), await keys()));
      continue;
    }
    status = await exec("bash", ["-c", line], { cwd, env });
    expect(status.status, `${line}\n${status.stdout}${status.stderr}`).toBe(0);
  }
  expect(said.at(-1)).toBe("bento check");
  expect(status.stdout).toMatch(/^✓ {2}example {2}ok /);
  expect(status.stdout).toMatch(/\n1 host: 1 ok\n$/);
  expect(await git("-C", cwd, "status", "--porcelain")).toBe("");

  async function keys(): Promise<string[]> {
    expect((await readdir(at("home/bento-keys"))).sort()).toEqual([
      "publisher",
      "publisher.pub",
      "signing",
      "signing.pub",
    ]);
    const publicHalf = async (name: string) => (await readFile(at("home/bento-keys", `${name}.pub`), "utf8")).trim();
    return [(await makeKey(at("server"))).publicKey, await publicHalf("publisher"), await publicHalf("signing")];
  }
});

/** fleet.yaml, with the server and the signers that are commented out in it, and their keys. */
function filledIn(text: string, keys: readonly string[]): string {
  let next = 0;
  const lines = text.split("\n").map((line) => {
    const commented = /^# ((?:server|signers| {2}\w+):.*)$/.exec(line)?.[1];
    return commented?.replace(/"ssh-ed25519 AAAA…[^"]*"/g, () => `"${keys[next++]}"`) ?? line;
  });
  expect(next).toBe(keys.length);
  return lines.join("\n");
}
