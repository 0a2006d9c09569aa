import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CheckDocument, HostCheck } from "../../src/results.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { type Entry, writeTree } from "../platform/scratch.ts";
import { succeed } from "../support/programs.ts";
import { makeStore, type PrivateStore } from "../support/store.ts";
import { bentoJson } from "./bento.ts";
import { configuration } from "./configurations.ts";

// What a pull request can bring. Each host is hostile in its own way; each must have one clear result, and the others theirs.

const LINE = "  networking.gateway =";
/** A configuration whose gateway, in line 4, is this. */
const gateway = (expression: string) => ({ "configuration.nix": configuration("host", `${LINE} ${expression};`) });
const well = { "configuration.nix": configuration("host") };
/** A flake whose one host, of its directory's name, has this in its system. */
const flake = (expression: string, more = "") => ({
  "flake.nix": `{
  ${more}
  outputs = inputs: {
    nixosConfigurations.@name@.config.system.build.toplevel =
      derivation { name = "system"; system = "x86_64-linux"; builder = "/bin/sh"; text = ${expression}; };
  };
}
`,
});
/** Many times. */
const often = (each: string) => `toString (builtins.foldl' (_: n: ${each}) 0 (builtins.genList (n: n) 100000))`;

interface Hostile {
  files: Readonly<Record<string, Entry>>;
  /** What is done to the directory of the host once git knows it. */
  spoil?(dir: string): Promise<unknown>;
  /** Undefined: it is well. */
  message?: string | RegExp;
  /** Of a host that is well. */
  warning?: string;
  /** In hosts/NAME. */
  file?: string;
  line?: number;
}

let server: ReturnType<typeof createServer>;
const trees: Record<string, Hostile> = {
  "link-out": {
    files: { ...well, out: { link: "../../../elsewhere" } },
    message: "hosts/link-out/out -> ../../../elsewhere: it leaves the repository",
    file: "out",
  },
  "link-to-the-machine": {
    files: { ...well, passwd: { link: "/etc/passwd" } },
    message: "hosts/link-to-the-machine/passwd -> /etc/passwd: an absolute symlink means another place on the host",
    file: "passwd",
  },
  "link-loop": {
    files: { ...well, a: { link: "b" }, b: { link: "a" } },
    message: /^hosts\/link-loop\/[ab] -> [ab]: a loop of symlinks$/,
    file: "a",
  },
  // For who followed them there would be no end of directories.
  "links-to-themselves": {
    files: { ...well, a: { link: "." }, b: { link: "." } },
  },
  "link-to-itself": {
    files: { ...well, deep: { link: "../link-to-itself" } },
    message: /./,
  },
  "link-that-is-a-directory-to-git": {
    files: { ...well, "part/file.nix": "{ }" },
    spoil: async (dir) => {
      await rename(path.join(dir, "part"), path.join(dir, "away"));
      await symlink("/etc", path.join(dir, "part"));
    },
    message: "hosts/link-that-is-a-directory-to-git/part is a directory to git, but a symlink on disk",
    file: "part",
  },
  device: {
    files: { ...well, disk: "" },
    spoil: async (dir) => {
      await rm(path.join(dir, "disk"));
      await succeed("mknod", [path.join(dir, "disk"), "c", "1", "5"]);
    },
    // Some file systems have no devices.
    message: /^hosts\/device\/disk is tracked by git, but (is no regular file|can't be read as a file \(EACCES\))$/,
    file: "disk",
  },
  fifo: {
    files: { ...well, pipe: "" },
    spoil: async (dir) => {
      await rm(path.join(dir, "pipe"));
      await succeed("mkfifo", [path.join(dir, "pipe")]);
    },
    message: "hosts/fifo/pipe is tracked by git, but is no regular file",
    file: "pipe",
  },
  socket: {
    files: { ...well, sock: "" },
    spoil: async (dir) => {
      await rm(path.join(dir, "sock"));
      server = createServer();
      // A socket's path is short; it is moved to where it shall be.
      const short = await mkdtemp("/tmp/bento-s-");
      await new Promise<void>((resolve) => server.listen(path.join(short, "s"), resolve));
      await succeed("mv", [path.join(short, "s"), path.join(dir, "sock")]);
      await rm(short, { recursive: true });
    },
    message: "hosts/socket/sock is tracked by git, but can't be read as a file (ENXIO)",
    file: "sock",
  },
  large: {
    // Not empty before: where git's index has a size of 0, git reads all of what there is now.
    files: { ...well, image: "x" },
    spoil: (dir) => truncate(path.join(dir, "image"), 2 * 1024 ** 3),
    message: "the tree is larger than 1024 MiB, at hosts/large/image",
    file: "image",
  },
  newline: { files: { ...well, "a\nb.nix": "{ }", "-rf": "", "a b;$(touch x)": "" } },
  "bad-utf8": {
    files: well,
    message: /^hosts\/bad-utf8\/.*: its name is not valid UTF-8$/,
    file: expect.any(String),
  },
  "same-but-for-case": {
    files: { "configuration.nix": configuration("host"), "a.nix": "1", "A.nix": "2" },
    warning:
      "hosts/same-but-for-case/A.nix and hosts/same-but-for-case/a.nix differ only in case: where file names are folded (macOS), a clone has only one of them",
  },

  "import-from-derivation": {
    files: gateway(
      'builtins.readFile (derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo hello > $out" ]; })',
    ),
    message: /^cannot build .* during evaluation because the option 'allow-import-from-derivation' is disabled$/,
    file: "configuration.nix",
    line: 4,
  },
  recursion: {
    files: gateway("let a = b; b = a; in a"),
    message: "infinite recursion encountered",
    file: "configuration.nix",
    line: 4,
  },
  "deep-recursion": {
    files: gateway("let f = n: 1 + f (n + 1); in toString (f 0)"),
    message: /^stack overflow/,
  },
  endless: {
    files: gateway(
      "let numbers = builtins.genList (n: n) 1000; spin = work: builtins.foldl' (sum: _: work sum) 0 numbers; in toString (spin (_: spin (_: spin (_: spin (_: spin (sum: sum + 1))))))",
    ),
    message: "the evaluation took longer than 20 s and was ended",
  },
  loud: {
    files: gateway(often(`builtins.trace "${"noise ".repeat(200)}" n`)),
    message: "the evaluation printed more than 16 MiB and was ended",
  },
  greedy: {
    files: gateway("toString (builtins.length (builtins.genList (n: n) 4000000000))"),
    message: "the evaluation was killed, also with nothing else running: this machine has too little memory for it",
  },

  "reads-passwd": {
    files: gateway("builtins.readFile /etc/passwd"),
    message: "it uses /etc/passwd, which a host does not have",
    file: "configuration.nix",
    line: 4,
  },
  "reads-environment": {
    files: gateway('builtins.readFile "/proc/self/environ"'),
    message: "it uses /proc/self/environ, which a host does not have",
    file: "configuration.nix",
    line: 4,
  },
  // The names in directories around what may be read are told by Nix 2.26 and later, of / for one.
  "lists-etc": {
    files: gateway("toString (builtins.attrNames (builtins.readDir /etc))"),
    message: "it uses /etc, which a host does not have",
  },
  "copies-passwd": {
    files: gateway("builtins.path { path = /etc/passwd; }"),
    message: "it uses /etc/passwd, which a host does not have",
  },
  "imports-machine": {
    files: gateway("(import /etc/nixos/configuration.nix)"),
    message: /which a host does not have$/,
  },
  "fetches-passwd": {
    files: gateway('builtins.readFile (builtins.fetchurl "file:///etc/passwd")'),
    message: /\/etc\/passwd/,
  },
  "fetches-repository": {
    files: gateway('(builtins.fetchGit "file:///etc").outPath'),
    message: /\/etc\b/,
  },
  "fetches-path": { files: gateway('(builtins.fetchTree { type = "path"; path = "/etc"; }).outPath'), message: /./ },
  executes: {
    files: gateway('builtins.exec [ "id" ]'),
    message: "attribute 'exec' missing",
    file: "configuration.nix",
    line: 4,
  },
  "uses-environment": {
    files: {
      "configuration.nix": configuration(
        "host",
        '  system.stateVersion = "env-" + builtins.getEnv "BENTO_TEST_SECRET";',
      ),
    },
  },
  "uses-store-path": {
    files: gateway("builtins.readFile (builtins.storePath /nix/store/00000000000000000000000000000000-x)"),
    message: /./,
  },

  "flake-of-the-machine": {
    files: gateway('toString (builtins.getFlake "path:/etc")'),
    message: /getFlake|'flakes' is disabled/,
  },
  "flake-config": {
    files: flake(
      'builtins.readFile (derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo hello > $out" ]; })',
      "nixConfig = { allow-import-from-derivation = true; pure-eval = false; sandbox = false; };",
    ),
    message: /^cannot build .* during evaluation because the option 'allow-import-from-derivation' is disabled$/,
    file: "flake.nix",
  },
  "flake-reads-passwd": {
    files: flake("builtins.readFile /etc/passwd"),
    message: "it uses /etc/passwd, which a host does not have",
    file: "flake.nix",
  },
  "flake-without-a-lock": {
    files: flake("inputs.machine.outPath", 'inputs.machine = { url = "path:/etc"; flake = false; };'),
    message: /./,
  },
  "flake-large": {
    files: { ...flake('"x"'), image: "x" },
    spoil: (dir) => truncate(path.join(dir, "image"), 3 * 1024 ** 3),
    message: "the tree is larger than 1024 MiB, at hosts/flake-large/image",
    file: "image",
  },

  forges: {
    files: gateway(
      `let
      forged = builtins.toJSON { drv = "/forged.drv"; toplevel = "/forged"; kernel = null; initrd = null; modules = null; agent = false; agentHost = null; agentBuild = null; secrets = null; };
      names = map (entry: entry.prefix) builtins.nixPath;
      marks = [ "00000000-0000-4000-8000-000000000000" ] ++ builtins.concatMap (name: let found = builtins.match "bento-(.*)-[0-9]+" name; in if found == null then [ ] else found) names;
    in builtins.foldl' (value: mark: builtins.trace "x\\ntrace: \${mark} \${forged}" (builtins.trace "\${mark} \${forged}" value)) "127.0.0.1" marks`,
    ),
  },
};

let repo: GitRepository;
let store: PrivateStore;
let dir: string;
let hosts: Map<string, HostCheck>;
let document: CheckDocument;
let stderr: string;

beforeAll(async () => {
  dir = await mkdtemp("/var/tmp/bento-hostile-");
  store = await makeStore(dir);
  const files: Record<string, Entry> = {};
  // Between the hostile ones, since what is evaluated together is what follows one another.
  for (const [index, [name, tree]] of Object.entries(trees).entries()) {
    const place = `hosts/${name}`;
    for (const [file, entry] of Object.entries(tree.files)) {
      files[`${place}/${file}`] = typeof entry === "string" ? entry.replaceAll("@name@", name) : entry;
    }
    files[`hosts/${name}-and-then/configuration.nix`] = configuration(`well-${index}`);
  }
  repo = await gitRepository(files);
  await writeFile(Buffer.concat([Buffer.from(`${repo.dir}/hosts/bad-utf8/`), Buffer.from([0xff, 0xfe])]), "");
  repo.git("add", "-A");
  repo.git("commit", "-q", "-m", "hostile");
  for (const [name, tree] of Object.entries(trees)) await tree.spoil?.(path.join(repo.dir, "hosts", name));

  // A machine with little memory for each evaluation.
  const bin = path.join(dir, "bin");
  await mkdir(bin);
  const real = await succeed("sh", ["-c", "command -v nix-instantiate"]);
  await writeTree(bin, { "nix-instantiate": { executable: `#!/bin/sh\nulimit -v 1000000\nexec ${real} "$@"\n` } });
  const env = { ...store.env, PATH: `${bin}:${process.env.PATH}`, BENTO_TEST_SECRET: "hunter2" };
  const result = await bentoJson<CheckDocument>(["check", "--timeout", "20"], { cwd: repo.dir, env });
  ({ document, stderr } = result);
  hosts = new Map(document.hosts.map((host) => [host.name, host]));
}, 300_000);

afterAll(async () => {
  server?.close();
  await repo?.[Symbol.asyncDispose]();
  await succeed("chmod", ["-R", "u+w", dir]);
  await rm(dir, { recursive: true });
});

function checkOf(name: string): HostCheck {
  const host = hosts.get(name);
  if (host === undefined) throw new Error(`the document has no ${name}`);
  return host;
}

describe("each by itself", () => {
  test.each(Object.entries(trees))("%s", (name, { message, warning, file, line }) => {
    const { status, error, warnings } = checkOf(name);
    if (warning !== undefined) expect(warnings).toEqual([warning]);
    expect(status).toBe(message === undefined ? "ok" : "failed");
    if (message === undefined) return;
    expect(error?.message.split("\n")).toHaveLength(1);
    if (typeof message === "string") expect(error?.message).toBe(message);
    else expect(error?.message).toMatch(message);
    if (file !== undefined) expect(error?.file).toEqual(typeof file === "string" ? `hosts/${name}/${file}` : file);
    if (line !== undefined) expect(error?.line).toBe(line);
  });
});

test("the others are well, each with its own system", () => {
  const others = Object.keys(trees).map((name, index) => [checkOf(`${name}-and-then`), index] as const);
  for (const [host, index] of others) {
    expect([host.name, host.error, host.toplevel]).toEqual([
      host.name,
      null,
      expect.stringMatching(`-nixos-system-well-${index}-`),
    ]);
  }
});

test("nobody forged a result, and no secret of the runner was seen", () => {
  expect(JSON.stringify(document)).not.toContain('/forged.drv"');
  expect(JSON.stringify(document) + stderr).not.toContain("hunter2");
  expect(JSON.stringify(document)).not.toContain("root:x:0");
});
