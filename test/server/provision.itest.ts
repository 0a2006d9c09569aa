import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, readFile, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { fleetJson, makeServerFleet, type Place, type ServerFleet, sftpAs, sshOptions } from "../support/logins.ts";
import { type Exit, exec, kill, type Running, start, succeed } from "../support/programs.ts";
import { loginPrefix, type WorldDirectory, worldDirectory } from "../support/world-directory.ts";

/** utils/server/provision on this machine, with a real sshd that it reloads. */

const prefix = loginPrefix();
let world: WorldDirectory;
let fleet: ServerFleet;
let place: Place;
let sshd: Running;
const script = (name: string) => path.join(packageRoot(), "utils/server", name);
const at = (...parts: string[]) => path.join(world.path, ...parts);

beforeAll(async () => {
  world = await worldDirectory();
  Object.assign(process.env, world.mark);
  fleet = await makeServerFleet(world.path, prefix, ["nas", "router", "late"]);
  await provision(fleetJson(fleet, ["nas", "router"]), []);
  // Below the ports that outgoing connections are given.
  const port = 20_000 + Math.floor(Math.random() * 12_000);
  await provision(fleetJson(fleet, ["nas", "router"]), ["--listen", "127.0.0.1", "--port", String(port)]);
  const hostKey = (await readFile(at("sshd/host_key.pub"), "utf8")).split(" ").slice(0, 2).join(" ");
  place = { address: "127.0.0.1", port, hostKey, dir: world.path };
  await startSshd();
});

afterAll(async () => {
  if (!world) return;
  kill([sshd.pid]);
  await succeed("bash", [script("deprovision"), at("sshd")]);
  const left = ["passwd", "group"].filter((file) => readFileSync(`/etc/${file}`, "utf8").includes(`\n${prefix}`));
  await world[Symbol.asyncDispose]();
  expect(left).toEqual([]);
});

async function startSshd() {
  sshd = start("/usr/sbin/sshd", ["-D", "-e", "-f", at("sshd/sshd_config")]);
  await listening();
}

/** Until sshd says that it listens: at its start, and again when it was told to read its configuration. */
async function listening(): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const look = (data: Buffer) => {
      if (!/Server listening on/.test(String(data))) return;
      sshd.child.stderr?.off("data", look);
      resolve();
    };
    sshd.child.stderr?.on("data", look);
    void sshd.done.then(({ stderr }) => reject(new Error(`sshd ended: ${stderr}`)));
  });
}

async function tryProvision(text: string, given: string[] = options()): Promise<Exit> {
  await mkdir(at("sshd"), { recursive: true });
  await writeFile(at("fleet.json"), text);
  return exec("bash", [script("provision"), at("fleet.json"), at("sshd"), ...given]);
}

async function provision(text: string, given: string[] = options()) {
  const { status, stdout, stderr } = await tryProvision(text, given);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** Everything that provision may have made, with times. */
function snapshot() {
  const accounts = ["passwd", "shadow", "group", "gshadow"].map((file) =>
    readFileSync(`/etc/${file}`, "utf8")
      .split("\n")
      .filter((line) => line.startsWith(prefix)),
  );
  const files = ["chroots", "sshd"].flatMap((dir) =>
    // sshd writes down its own number when it listens again.
    (readdirSync(at(dir), { recursive: true }) as string[])
      .filter((name) => name !== "sshd.pid")
      .map((name) => {
        const { mode, uid, gid, mtimeMs } = lstatSync(at(dir, name));
        // Where things are written aside and moved from.
        const time = name === "" || lstatSync(at(dir, name)).isDirectory() ? 0 : mtimeMs;
        return `${dir}/${name} ${mode.toString(8)} ${uid}:${gid} ${time}`;
      }),
  );
  return { accounts, files: files.sort() };
}

/** A host's, in /etc/passwd and in /etc/group. */
function numbersOf(host: string): (string | undefined)[] {
  const row = (file: string) =>
    readFileSync(`/etc/${file}`, "utf8")
      .split("\n")
      .find((line) => line.startsWith(`${prefix}${host}:`));
  return [row("passwd"), row("group")].map((line) => line?.split(":")[2]);
}

const asHost = (host: string, commands: string) => sftpAs(fleet, place, host, commands);
function options(): string[] {
  return ["--listen", place.address, "--port", String(place.port)];
}

test("a second time it changes nothing", async () => {
  const before = snapshot();
  expect(before.accounts.map((lines) => lines.length)).toEqual([3, 3, 3, 3]);
  expect(await provision(fleetJson(fleet, ["nas", "router"]))).toBe("");
  expect(snapshot()).toEqual(before);
});

test("the number of a login that is taken away is free only when none of its sessions is left", async () => {
  const accounts = script("lib/accounts");
  // No number that provision gives, and another one for each process.
  const [login, id] = [`${prefix}gone`, 60_000 + (process.pid % 5_000)];
  const isIn = (file: string) => readFileSync(`/etc/${file}`, "utf8").includes(`\n${login}:`);
  await succeed("bash", [accounts, "add"], { input: `${login} ${id}\n` });
  // Sessions of before, which come as fast as they are ended.
  const session = `setpriv --reuid ${id} --clear-groups sleep 60`;
  const coming = start("sh", ["-c", `while :; do ${session} & sleep 0.03; done`]);
  const removing = start("bash", [accounts, "remove"], { input: `${login}\n` });
  await vi.waitFor(() => expect(isIn("gshadow")).toBe(false), { timeout: 10_000, interval: 10 });
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect([isIn("passwd"), isIn("group")]).toEqual([false, true]);
  kill([coming.pid]);
  expect((await removing.done).status).toBe(0);
  expect(isIn("group")).toBe(false);
});

test("logins have no shell, no password and no home", async () => {
  const [passwd = [], shadow = []] = snapshot().accounts;
  for (const line of passwd) expect(line).toMatch(/^[^:]+:x:\d+:\d+:Bento fleet:\/:\/\S+\/(nologin|false)$/);
  for (const line of shadow) expect(line).toMatch(/^[^:]+:\*:/);
  expect((await asHost("nas", "ls")).stdout).toContain("releases");
});

test("a host that leaves is refused and its session ended; what it had stays, and fits when it comes back", async () => {
  await writeFile(at("chroots/router/releases/current"), "the release", { mode: 0o640 });
  await succeed("chown", [`${prefix}publisher:${prefix}router`, at("chroots/router/releases/current")]);
  const [number] = numbersOf("router");
  const session = spawn("sftp", ["-q", ...(await sshOptions(place, fleet.keys.router)), `${prefix}router@127.0.0.1`]);
  session.stdin.write("ls\n");
  await once(session.stdout, "data");
  const ended = once(session, "exit");

  const reloaded = listening();
  const said = await provision(fleetJson(fleet, ["nas"]));
  await reloaded;
  expect(said).toBe(`removed the login ${prefix}router; its chroot is left as it is\n`);
  session.stdin.write("ls\n");
  expect(await ended).not.toEqual([0, null]);
  expect(await asHost("router", "ls")).toMatchObject({ status: 255 });
  expect((await asHost("nas", "ls")).status).toBe(0);
  expect(await readFile(at("chroots/router/releases/current"), "utf8")).toBe("the release");
  // Its number is nobody else's, not another fleet's on this machine either: the chroot is still the host's that left.
  const other = { ...fleet, prefix: `${prefix}other-`, root: at("other") };
  await mkdir(at("other-sshd"));
  await writeFile(at("other.json"), fleetJson(other, ["late", "nas", "router"]));
  await succeed("bash", [script("provision"), at("other.json"), at("other-sshd")]);
  const given = ["publisher", "late", "nas", "router"].map((host) => numbersOf(`other-${host}`)[0]);
  await succeed("bash", [script("deprovision"), at("other-sshd")]);
  expect(given).not.toContain(number);

  const again = listening();
  await provision(fleetJson(fleet, ["late", "nas", "router"]));
  await again;
  expect(numbersOf("router")).toEqual([number, number]);
  expect((await asHost("router", "get releases/current /dev/null")).status).toBe(0);
  expect((await asHost("late", "ls")).status).toBe(0);
});

test("a server of 2022 gets places for trees: hosts go on with the tree they have, and see no news in it", async () => {
  const tree = () => fleetJson(fleet, ["late", "nas", "router"], { tree: true });
  for (const dir of ["config/sub", "logs"]) await mkdir(at("chroots/router", dir), { recursive: true });
  await writeFile(at("chroots/router/config/sub/a.nix"), "{ }\n", { mode: 0o600 });
  await writeFile(at("chroots/router/last_change_date"), "");
  await utimes(at("chroots/router/last_change_date"), 1_600_000_000, 1_600_000_000);
  await provision(tree());
  const before = await asHost("router", "ls -l last_change_date\nls config/sub/a.nix\nget config/sub/a.nix /dev/null");
  expect(before.status, before.stderr).toBe(0);
  expect(before.stdout).toMatch(/Sep 13 +2020 last_change_date/);
  expect((await asHost("nas", "ls -l last_change_date\nls logs")).status).toBe(0);
  // What is the host's, what is the publisher's, and what is root's alone.
  expect((await asHost("router", `put ${at("fleet.json")} logs/one`)).status).toBe(0);
  for (const forbidden of ["config/one", "last_change_date", "trees/one", "one"]) {
    expect((await asHost("router", `put ${at("fleet.json")} ${forbidden}`)).status, forbidden).toBe(1);
  }
  expect((await asHost("router", "rm config")).status).toBe(1);
  const publisher = await asHost(
    "publisher",
    `put ${at("fleet.json")} router/last_change_date\nmkdir router/trees/1-x
    ln -s 1-x router/trees/new\nrename router/trees/new router/trees/config\nls router/config/`,
  );
  expect(publisher.status, publisher.stderr).toBe(0);
  expect((await asHost("router", "ls -l last_change_date")).stdout).not.toMatch(/2020/);
  const checked = await exec("bash", [script("check"), at("fleet.json"), at("sshd/sshd_config")]);
  expect(checked.stdout).not.toMatch(/trees|logs|config|last_change_date/);
  const made = snapshot();
  await provision(tree());
  expect(snapshot()).toEqual(made);
  // Without it, nothing is taken away.
  await provision(fleetJson(fleet, ["late", "nas", "router"]));
  expect(snapshot().files).toEqual(made.files);
});

test("what can't be used changes nothing, and says why", async () => {
  const before = snapshot();
  const whole = fleetJson(fleet, ["late", "nas", "router"]);
  const cases: [string, RegExp][] = [
    [whole.slice(0, -20), /fleet\.json can't be used/],
    ["", /fleet\.json can't be used/],
    [whole.replace('"version":1', '"version":2'), /version must be 1/],
    [fleetJson(fleet, ["late"], { tree: "no" }), /server\.tree is neither true nor false/],
    [whole.replaceAll(`"${prefix}late"`, '"daemon"'), /there is a login 'daemon' on this machine already/],
    [whole.replaceAll(`"${prefix}late"`, '"late\\nAllowUsers root"'), /a login is malformed/],
    [whole.replaceAll('"late"', '".."'), /a host name is malformed/],
    [whole.replace(/"root":"[^"]*"/, '"root":"/tmp/bento-chroots"'), /\/tmp must belong to root/],
  ];
  for (const [text, why] of cases) {
    const { status, stderr } = await tryProvision(text);
    expect(stderr).toMatch(why);
    expect(status).toBe(2);
    expect(snapshot(), text).toEqual(before);
  }
});

test("arguments that can't be used, too", async () => {
  const whole = fleetJson(fleet, ["late", "nas", "router"]);
  const before = snapshot();
  const port = await tryProvision(whole, ["--port", "ssh"]);
  expect(port).toEqual({ status: 2, stdout: "", stderr: "provision: --port must be a number, not 'ssh'\n" });
  const gone = await exec("bash", [script("provision"), at("gone.json"), at("sshd")]);
  expect(gone).toEqual({
    status: 2,
    stdout: "",
    stderr: `provision: there is no ${at("gone.json")}, or it can't be read\n`,
  });
  expect(snapshot()).toEqual(before);
});

test("on another machine, such as a new container, the same logins have the same numbers", async () => {
  await provision(fleetJson(fleet, ["late", "nas", "router"]));
  const before = snapshot();
  // With an /etc of its own. On this one somebody else would get the numbers meanwhile.
  const moved = `
    cp -a /etc "$1" && mount --bind "$1" /etc
    bash "$2/lib/accounts" remove < "$3/logins"
    if grep "^${prefix}" /etc/passwd /etc/group; then exit 1; fi
    shift && bash "$1/provision" "$3" "$2" "\${@:4}"
    grep "^${prefix}" /etc/passwd`;
  const [etc, server, directory, json] = [at("etc"), script(""), at("sshd"), at("fleet.json")];
  const passwd = await succeed("unshare", [
    ...["--mount", "--propagation", "private", "bash", "-ec", moved, "bash"],
    ...[etc, server, directory, json, ...options()],
  ]);
  expect(passwd.split("\n").sort()).toEqual(before.accounts[0]?.sort());
  expect(snapshot().files).toEqual(before.files);
});

test("several at once make the logins of each", { timeout: 240_000 }, async () => {
  const fleets = Array.from({ length: 4 }, (_, index) => ({
    ...fleet,
    prefix: `${prefix}${index}-`,
    root: at(`more-${index}`),
  }));
  try {
    const runs = fleets.map(async (one, index) => {
      await mkdir(at(`more-sshd-${index}`));
      const file = at(`more-sshd-${index}`, "fleet.json");
      await writeFile(file, fleetJson(one, ["late", "nas", "router"]));
      return succeed("bash", [script("provision"), file, at(`more-sshd-${index}`)]);
    });
    await Promise.all(runs);
    const rows = readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .filter((line) => line.startsWith(prefix));
    expect(rows.length).toBe(4 + 4 * 4);
    expect(new Set(rows.map((row) => row.split(":")[2])).size).toBe(rows.length);
  } finally {
    for (const index of fleets.keys()) await succeed("bash", [script("deprovision"), at(`more-sshd-${index}`)]);
  }
});
