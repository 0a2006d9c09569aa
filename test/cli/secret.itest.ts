import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { SecretEditDocument, SecretListDocument } from "../../src/results.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { exec, succeed } from "../support/programs.ts";
import { bento, bentoJson, pathWith, startOnTerminal } from "./bento.ts";

let keys: Awaited<ReturnType<typeof scratch>>;
let fleet: GitRepository;
let first: string;
/** Of three hosts, and of two administrators: anna by her ssh key, ben by one of age's. */
let router: KeyPair;
let nas: KeyPair;
let laptop: KeyPair;
let anna: KeyPair;
let ben: string;

beforeAll(async () => {
  keys = await scratch();
  const make = (name: string) => makeKey(path.join(keys.path, name));
  [router, nas, laptop, anna] = await Promise.all([make("router"), make("nas"), make("laptop"), make("anna")]);
  ben = path.join(keys.path, "ben");
  await succeed("age-keygen", ["-o", ben]);
  fleet = await gitRepository({
    "fleet.yaml": await fleetFile(),
    ...Object.fromEntries(["router", "nas", "laptop"].map((name) => [`hosts/${name}/configuration.nix`, "{ }\n"])),
  });
  first = fleet.head();
});

afterEach(() => {
  fleet.git("reset", "-q", "--hard", first);
  fleet.git("clean", "-fdq");
});

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
  await keys?.[Symbol.asyncDispose]();
});

async function fleetFile({ nasKey = nas.publicKey, administrators = [`${anna.publicKey} anna`] } = {}) {
  const all = [...administrators, `${await succeed("age-keygen", ["-y", ben])} ben`];
  return `administrators: ${JSON.stringify(all)}
hosts:
  router: { key: "${router.publicKey} root@router", groups: [servers] }
  nas: { key: "${nasKey} root@nas", groups: [servers] }
  laptop: { key: "${laptop.publicKey} root@laptop" }
`;
}

const at = (file: string) => path.join(fleet.dir, file);
const inFleet = (args: readonly string[], options: Parameters<typeof bento>[1] = {}) =>
  bento(args, { cwd: fleet.dir, ...options });
const set = (host: string, name: string, input: string) => inFleet(["secret", "set", host, name], { input });
const list = async () =>
  (await bentoJson<SecretListDocument>(["secret", "list"], { cwd: fleet.dir })).document.hosts.flatMap((host) =>
    host.secrets.map(({ name, status }) => `${host.name} ${name} ${status}`),
  );

/** The secret as the holder of a private key reads it; null for who can't. */
async function read(file: string, identity: string): Promise<string | null> {
  const { status, stdout, stderr } = await exec("age", ["-d", "-i", identity, at(file)]);
  if (status !== 0) expect(stderr).toContain("no identity matched");
  return status === 0 ? stdout : null;
}

test("set: each host and every administrator can read it, byte for byte, and no other host", async () => {
  const value = "PASSWORD=correct horse\r\n\0second line, without an end";
  const { status, stdout, stderr } = await set("@servers", "wifi", value);
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toBe(
    "✓ secrets/nas/wifi.age\n✓ secrets/router/wifi.age\n→ git add secrets, commit, and bento deploy\n",
  );
  for (const [file, own, other] of [
    ["secrets/router/wifi.age", router, nas],
    ["secrets/nas/wifi.age", nas, router],
  ] as const) {
    for (const identity of [own.file, anna.file, ben]) expect(await read(file, identity)).toBe(value);
    expect(await read(file, other.file)).toBe(null);
    expect(await read(file, laptop.file)).toBe(null);
    // Text through and through, which git can convert without harm.
    expect(await readFile(at(file), "latin1")).toMatch(/^[ -~\n]+$/);
  }
  expect(await readdir(at("secrets/router"))).toEqual(["wifi.age"]);
  expect(await list()).toEqual(["nas wifi untracked", "router wifi untracked"]);
  fleet.git("add", "secrets");
  expect(await list()).toEqual(["nas wifi ok", "router wifi ok"]);
  // Another value in its place.
  expect((await set("nas", "wifi", "new")).status).toBe(0);
  expect(await read("secrets/nas/wifi.age", nas.file)).toBe("new");
  expect(await read("secrets/router/wifi.age", router.file)).toBe(value);
});

test("remove: of the hosts that have it", async () => {
  await set("router,laptop", "wifi", "value");
  await set("router", "vpn", "value");
  const { status, stdout } = await inFleet(["secret", "remove", "*", "wifi"]);
  expect([status, stdout]).toEqual([
    0,
    "✓ secrets/laptop/wifi.age removed\n✓ secrets/router/wifi.age removed\n→ git add secrets, commit, and bento deploy\n",
  ]);
  expect(await list()).toEqual(["router vpn untracked"]);
  expect(await inFleet(["secret", "remove", "router", "wifi"])).toEqual({
    status: 2,
    stdout: "",
    stderr: "error: router has no secret 'wifi'\n→ bento secret list shows what there is\n",
  });
});

test("what is wrong is said before anything is written", async () => {
  const ecdsa = path.join(keys.path, "ecdsa");
  await succeed("ssh-keygen", ["-q", "-t", "ecdsa", "-N", "", "-C", "", "-f", ecdsa]);
  const old = (await readFile(`${ecdsa}.pub`, "utf8")).trim();
  await writeFile(
    at("fleet.yaml"),
    `${await fleetFile()}  old: { key: "${old}", path: hosts/old }\n  new: { path: hosts/new }\n`,
  );
  for (const name of ["old", "new"]) {
    await mkdir(at(`hosts/${name}`));
    await writeFile(at(`hosts/${name}/configuration.nix`), "{ }\n");
  }
  for (const [host, name, value, said] of [
    ["ruoter", "wifi", "x", "no host is called 'ruoter'\n→ did you mean 'router'?"],
    ["new", "wifi", "x", "new has no key in fleet.yaml yet, and a secret is encrypted to it"],
    ["router,old", "wifi", "x", "old has an ecdsa-sha2-nistp256 key, which age can't encrypt to"],
    ["router", "../nas/wifi", "x", "a secret can't be called '../nas/wifi'\n→ lower-case letters"],
    ["router", ".hidden", "x", "a secret can't be called '.hidden'"],
    ["router", "wifi.age", "x", "a secret can't be called 'wifi.age'\n→ without .age at its end"],
    ["router", "wifi", "", "the value is empty, and nothing was written"],
    ["router", "wifi", "x".repeat(1024 ** 2 + 1), "a secret has at most 1 MiB"],
  ] as const) {
    const { status, stdout, stderr } = await set(host, name, value);
    expect(stderr).toContain(`error: ${said}`);
    expect([status, stdout]).toEqual([2, ""]);
    expect(existsSync(at("secrets"))).toBe(false);
  }
  await using bin = await scratch();
  const PATH = await pathWith(path.join(bin.path, "bin"), ["git"]);
  const noAge = await inFleet(["secret", "set", "router", "wifi"], { input: "x", env: { PATH } });
  expect(noAge.stderr).toMatch(/^error: age was not found on this machine \(no age in PATH\)\n→ install it: /);
  expect([noAge.status, existsSync(at("secrets"))]).toEqual([3, false]);
  // A pull request's link, out of the fleet.
  await mkdir(at("secrets"));
  await symlink(bin.path, at("secrets/router"));
  const linked = await set("router", "wifi", "x");
  expect([linked.status, linked.stderr]).toEqual([
    2,
    "error: secrets/router: it is no directory\n→ git rm secrets/router\n",
  ]);
  expect(await readdir(bin.path)).toEqual(["bin"]);
});

test("a value that is typed isn't shown, and one of several lines goes neither into a file nor to the shell", async () => {
  const type = async (keysTyped: string) => {
    const input = new PassThrough();
    const running = await startOnTerminal(["secret", "set", "router", "wifi"], { cwd: fleet.dir, input });
    let seen = "";
    running.child.stdout?.on("data", (data) => {
      if (!seen.includes("not shown")) {
        seen += data;
        if (seen.includes("not shown")) input.write(keysTyped);
      }
    });
    const exit = await running.finished;
    input.destroy();
    return exit;
  };
  const typed = await type("corect\x7f\x7f\x7frect hörse\r");
  expect(typed.stdout).toContain("wifi for router (it is not shown): ");
  expect(typed.stdout).not.toMatch(/cor|rse/);
  expect(typed.status).toBe(0);
  expect(await read("secrets/router/wifi.age", router.file)).toBe("correct hörse");
  const pasted = await type("-----BEGIN KEY-----\nabc\n");
  expect(pasted.stdout).toContain("that was more than one line, and nothing was written");
  expect(pasted.stdout).not.toContain("abc");
  expect(pasted.status).toBe(2);
  expect((await type("half of i\x03")).status).toBe(130);
  expect(await read("secrets/router/wifi.age", router.file)).toBe("correct hörse");
});

test("edit: in a private file in memory, with an administrator's key, for several hosts at once", async () => {
  const seen = path.join(keys.path, "seen");
  const editor = (action: string) => ({
    EDITOR: `f() { stat -f -c %T "$1"; stat -c %a "$1" "\${1%/*}"; echo "$1"; } >${seen}; g() { f "$@"; ${action}; }; g`,
  });
  const edit = (hosts: string, name: string, action: string, identity = anna.file) =>
    inFleet(["secret", "edit", hosts, name, "-i", identity], { env: editor(action) });
  const lookedAt = async () => (await readFile(seen, "utf8")).trim().split("\n");
  // A new one needs nobody's key.
  const made = await inFleet(["secret", "edit", "@servers", "wifi"], { env: editor(`printf 'one\\n' > "$1"`) });
  expect([made.status, made.stderr]).toEqual([0, ""]);
  expect(await read("secrets/nas/wifi.age", nas.file)).toBe("one\n");
  for (const identity of [anna.file, ben]) {
    const { status, stderr } = await edit("@servers", "wifi", `echo two >> "$1"`, identity);
    expect([status, stderr]).toEqual([0, ""]);
  }
  for (const [host, key] of [["nas", nas.file] as const, ["router", router.file] as const]) {
    expect(await read(`secrets/${host}/wifi.age`, key)).toBe("one\ntwo\ntwo\n");
  }
  const [fileSystem, fileMode, dirMode, file = ""] = await lookedAt();
  expect([fileSystem, fileMode, dirMode]).toEqual(["tmpfs", "600", "700"]);
  expect(existsSync(path.dirname(file))).toBe(false);
  // What isn't changed isn't written anew, which would be another release.
  const before = await readFile(at("secrets/nas/wifi.age"), "utf8");
  expect((await edit("nas", "wifi", "true")).stdout).toBe("· secrets/nas/wifi.age is as it was\n");
  for (const [action, said] of [
    [`echo lost > "$1"; exit 3`, "ended with status 3, and nothing was written"],
    [`: > "$1"`, "the value is empty, and nothing was written\n→ bento secret remove"],
  ] as const) {
    const { status, stderr } = await edit("nas", "wifi", action);
    expect(stderr).toContain(said);
    expect(status).toBe(2);
    expect(existsSync(path.dirname((await lookedAt())[3] ?? ""))).toBe(false);
  }
  await rm(seen);
  const stranger = await edit("nas", "wifi", "true", laptop.file);
  expect(stranger.stderr).toContain(
    `error: secrets/nas/wifi.age: it is not encrypted to ${laptop.file}\n→ -i FILE says`,
  );
  expect(stranger.status).toBe(1);
  await set("router", "wifi", "another");
  expect((await edit("@servers", "wifi", "true")).stderr).toContain("nas and router have different values of 'wifi'");
  expect((await edit("*", "wifi", "true")).stderr).toContain("laptop has no secret 'wifi', and nas has");
  expect((await edit("nas", "wifi", "true", "nowhere")).stderr).toContain("nowhere can't be read (ENOENT)");
  const home = await inFleet(["secret", "edit", "nas", "wifi"], { env: { HOME: keys.path } });
  expect(home.stderr).toContain(`there is no key to decrypt with: no ${keys.path}/.ssh/id_ed25519`);
  expect(existsSync(seen)).toBe(false);
  expect(await readFile(at("secrets/nas/wifi.age"), "utf8")).toBe(before);
});

test("rekey: what a host had is for its new key, and an administrator who left can't read it any more", async () => {
  await set("*", "wifi", "w");
  await set("nas", "disk", "d");
  await writeFile(
    at("secrets/router/foreign.age"),
    await succeed("age", ["-a", "-r", laptop.publicKey, at("fleet.yaml")]),
  );
  await writeFile(at("secrets/router/text.age"), "no file of age's");
  await symlink("wifi.age", at("secrets/router/link.age"));
  await mkdir(at("secrets/gone"));
  fleet.git("add", "secrets");
  const [reinstalled, carla] = await Promise.all(
    ["reinstalled", "carla"].map((name) => makeKey(path.join(keys.path, name))),
  );
  await writeFile(
    at("fleet.yaml"),
    await fleetFile({ nasKey: reinstalled?.publicKey ?? "", administrators: [carla?.publicKey ?? ""] }),
  );
  const shown = await inFleet(["secret", "list", "router"]);
  expect(shown.stdout).toBe(`HOST    SECRET
router  foreign  encrypted to other keys than fleet.yaml has: bento secret rekey
router  link     it is a link: bento secret works on the files themselves
router  text     it is no file of age's
router  wifi     encrypted to other keys than fleet.yaml has: bento secret rekey
warning: secrets/gone belongs to no host: git rm -r secrets/gone
`);
  const rekey = (...args: string[]) => bentoJson<SecretEditDocument>(["secret", "rekey", ...args], { cwd: fleet.dir });
  const { status, document } = await rekey("-i", anna.file);
  expect(status).toBe(1);
  const results = document.hosts.flatMap((host) => host.secrets.map((one) => [host.name, one.name, one.status]));
  expect(results).toEqual([
    ["laptop", "wifi", "written"],
    ["nas", "disk", "written"],
    ["nas", "wifi", "written"],
    ["router", "foreign", "failed"],
    ["router", "link", "failed"],
    ["router", "text", "failed"],
    ["router", "wifi", "written"],
  ]);
  expect(document.hosts.map((host) => host.status)).toEqual(["ok", "ok", "failed"]);
  expect(document.hosts[2]?.secrets[0]?.error).toMatchObject({
    file: "secrets/router/foreign.age",
    message: `it is not encrypted to ${anna.file}`,
  });
  for (const [file, value] of [["secrets/nas/disk.age", "d"] as const, ["secrets/nas/wifi.age", "w"] as const]) {
    for (const identity of [reinstalled?.file, carla?.file, ben]) expect(await read(file, identity ?? "")).toBe(value);
    for (const identity of [nas.file, anna.file]) expect(await read(file, identity)).toBe(null);
  }
  expect(await list()).toContain("nas wifi ok");
  // With ssh keys alone it is seen from outside what is right already, and left as it is.
  await writeFile(
    at("fleet.yaml"),
    `administrators: ["${anna.publicKey}"]\n${(await fleetFile()).split("\n").slice(1).join("\n")}`,
  );
  expect((await rekey("nas", "disk", "-i", ben)).document.hosts[0]?.secrets[0]?.status).toBe("written");
  expect((await rekey("nas", "disk", "-i", ben)).document.hosts[0]?.secrets[0]?.status).toBe("unchanged");
  expect((await inFleet(["secret", "rekey", "nas", "nothing", "-i", ben])).stderr).toMatch(
    /^error: there is no such secret/,
  );
});

test("a fleet without administrators is told what that means", async () => {
  await writeFile(at("fleet.yaml"), (await fleetFile()).split("\n").slice(1).join("\n"));
  const { status, stdout } = await set("router", "wifi", "value");
  expect(status).toBe(0);
  expect(stdout).toContain("warning: fleet.yaml has no administrators: nobody but the host itself can read this");
  expect(await read("secrets/router/wifi.age", router.file)).toBe("value");
  expect(await read("secrets/router/wifi.age", anna.file)).toBe(null);
});
