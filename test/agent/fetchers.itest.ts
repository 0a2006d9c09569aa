import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { GitPublisher } from "../../src/publish/git.ts";
import { archivesOf } from "../../src/release/plan.ts";
import { narDigest } from "../../src/tree/nar.ts";
import { gitRepository } from "../platform/git.ts";
import { GitServer } from "../support/git-server.ts";
import { exec, succeed } from "../support/programs.ts";
import { encrypt } from "../support/secrets.ts";
import { World } from "../support/world.ts";

/** Fetchers: Bento's own two, and the examples of docs/fetchers.md as they stand there. */
const HOST = "any";
const PASSWORD = "correct horse";
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: [HOST] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Writes the document's script that calls itself so. */
async function example(name: string): Promise<string> {
  const text = await readFile(path.join(packageRoot(), "docs/fetchers.md"), "utf8");
  const scripts = [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, script = ""]) => script);
  const script = scripts.find((one) => one.includes(`\n# ${name}: `));
  if (script === undefined) throw new Error(`docs/fetchers.md has no ${name}`);
  const file = path.join(world.dir, name);
  await writeFile(file, script, { mode: 0o755 });
  await succeed("shellcheck", [file]);
  return file;
}

/** A release with what can be lost on the way: modes, links, empty and odd files. */
async function odd(word: string): Promise<string> {
  const dir = path.join(world.dir, `odd-${word}`);
  const tree = path.join(dir, "tree");
  await mkdir(path.join(tree, "empty/but"), { recursive: true });
  await writeFile(
    path.join(tree, "configuration.nix"),
    `{ networking.hostName = "${HOST}"; environment.etc."word" = "${word}"; }\n`,
  );
  await writeFile(path.join(tree, "run me"), "#!/bin/sh\n", { mode: 0o755 });
  await writeFile(path.join(tree, "empty/but/for"), "");
  await writeFile(path.join(tree, "lines"), "a\r\nb\n\0");
  execFileSync("ln", ["-s", "empty/../lines", path.join(tree, "link")]);
  await encrypt(word, world.hostKeys[HOST]?.publicKey ?? "", path.join(dir, "secrets/word.age"));
  return dir;
}

/** The directory of a fleet as the server has it, elsewhere. */
async function copyOfServer(name: string): Promise<string> {
  const dir = path.join(world.dir, name);
  await cp(world.server.chroot(HOST), path.join(dir, HOST), { recursive: true });
  return dir;
}

async function httpsServer(dir: string): Promise<{ url: string; cert: string; server: Server }> {
  const [key, cert] = [path.join(world.dir, "tls.key"), path.join(world.dir, "tls.crt")];
  await succeed("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
    ...["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
  ]);
  const server = createServer({ key: await readFile(key), cert: await readFile(cert) }, async (request, response) => {
    const isKnown = request.headers.authorization === `Basic ${btoa(`${HOST}:${PASSWORD}`)}`;
    const text = await readFile(path.join(dir, decodeURI(request.url ?? ""))).catch(() => undefined);
    response.statusCode = !isKnown ? 401 : text === undefined ? 404 : 200;
    response.end(isKnown ? text : "");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, cert, server };
}

test("a release is the same, byte for byte, whichever way it comes", async () => {
  const machine = await world.machine(HOST);
  await using git = await GitServer.make(path.join(world.dir, "git"), {
    write: [world.publisherKey.publicKey],
    read: [world.hostKeys[HOST]?.publicKey ?? ""],
  });
  const settings = { remote: git.remote, refs: "refs/heads/bento/{host}", hostKeys: [git.hostKey.publicKey] };
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ git: settings }));
  const { manifest, envelope, archive } = await world.publish(HOST, { dir: await odd("same") });

  await using repository = await gitRepository({ "fleet.yaml": "" });
  const file = path.join(world.dir, archive.name);
  await using publisher = await GitPublisher.open({
    ...{ settings, repository: repository.dir, key: world.publisherKey.file, signal: new AbortController().signal },
  });
  await publisher.readCurrent([HOST]);
  const upload = {
    host: HOST,
    envelope,
    archive: { name: archive.name, size: archive.size, file },
    keep: archivesOf(manifest),
  };
  expect((await publisher.publish([upload])).get(HOST)).toBeNull();

  const fleet = await copyOfServer("mounted");
  const { url, cert, server } = await httpsServer(fleet);
  const netrc = path.join(world.dir, "netrc");
  await writeFile(netrc, `machine localhost login ${HOST} password "${PASSWORD}"\n`);
  const own = path.join(packageRoot(), "utils/agent/fetchers");
  const ways: [string, string, Record<string, string>][] = [
    ["sftp", `${own}/sftp`, {}],
    ["git", `${own}/git`, {}],
    ["directory", await example("fetch-from-directory"), { FLEET: fleet }],
    ["https", await example("fetch-over-https"), { FLEET: url, CURL_CA_BUNDLE: cert, NETRC: netrc }],
  ];
  await mkdir(machine.path("run/bento"), { recursive: true });
  const description = path.join(world.dir, "manifest.json");
  await writeFile(description, JSON.stringify(manifest));
  const fetched: string[] = [];
  for (const [name, fetcher, more] of ways) {
    const env = { ...machine.env, ...more };
    expect(JSON.parse(await succeed(fetcher, ["poll"], { env })), name).toEqual(JSON.parse(envelope));
    const into = path.join(world.dir, `fetched-by-${name}`);
    await succeed(fetcher, ["fetch", description, into], { env });
    expect(await narDigest(into), name).toBe(manifest.digest);
    fetched.push(await succeed("nix-store", ["--dump", into], { env }));
  }
  expect(new Set(fetched).size).toBe(1);
  server.close();
});

describe("the examples of docs/fetchers.md", () => {
  test("a directory: releases, reports, and one that isn't mounted", async () => {
    const machine = await world.machine(HOST);
    const { manifest } = await world.publish(HOST, { dir: await odd("directory") });
    const fleet = await copyOfServer("share");
    const fetcher = await example("fetch-from-directory");
    const env = { BENTO_FETCHER: fetcher, FLEET: fleet };
    const upgraded = await machine.agent(env);
    expect(upgraded.stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(manifest.toplevel);
    const reports = await readdir(path.join(fleet, HOST, "reports"));
    expect(reports.filter((name) => !name.startsWith("."))).toEqual(reports);
    expect(reports).toEqual(expect.arrayContaining(["heartbeat.json", "latest.json"]));
    const latest = JSON.parse(await readFile(path.join(fleet, HOST, "reports/latest.json"), "utf8"));
    expect(latest).toMatchObject({ outcome: "success", sequence: manifest.sequence });
    expect((await machine.agent(env)).stderr).toBe(`up to date with release ${manifest.sequence}\n`);

    await rename(fleet, `${fleet}.away`);
    const gone = await machine.agent(env);
    expect(gone.stderr).toBe(`no contact: ${fleet}/${HOST}/releases is not there: is it mounted?\n`);
    expect(gone.status).toBe(75);
    await rename(`${fleet}.away`, fleet);

    // What somebody has changed on the stick.
    const next = await world.publish(HOST, { dir: await odd("changed") });
    const changed = await copyOfServer("changed");
    await writeFile(path.join(changed, HOST, "releases", next.archive.name), "not it");
    const refused = await machine.agent({ ...env, FLEET: changed });
    expect(refused.stderr).toMatch(
      /\nfailed: it could not be fetched: .*sha256sum: WARNING: 1 computed checksum did NOT match\n$/,
    );
    expect(await machine.running()).toBe(manifest.toplevel);
  });

  test("https: releases; nothing there, a wrong password, a wrong certificate, nobody there", async () => {
    const machine = await world.machine(HOST);
    const { manifest } = await world.publish(HOST, { dir: await odd("https") });
    const fleet = await copyOfServer("web");
    const { url, cert, server } = await httpsServer(fleet);
    const netrc = path.join(world.dir, "netrc");
    await writeFile(netrc, `machine localhost login ${HOST} password "${PASSWORD}"\n`);
    const env = { BENTO_FETCHER: await example("fetch-over-https"), FLEET: url, CURL_CA_BUNDLE: cert, NETRC: netrc };
    const upgraded = await machine.agent({ ...env, BENTO_REPORTER: "sftp" });
    expect(upgraded.stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(manifest.toplevel);
    expect(await world.report(HOST)).toMatchObject({ outcome: "success", sequence: manifest.sequence });
    expect((await machine.agent(env)).stderr).toBe(`up to date with release ${manifest.sequence}\n`);
    expect(await readdir(machine.path("state/spool"))).toEqual([]);

    const current = path.join(fleet, HOST, "releases/current");
    await rename(current, `${current}.away`);
    expect((await machine.agent(env)).stderr).toBe(`nothing has been published for ${HOST} yet\n`);
    await rename(`${current}.away`, current);

    expect(await machine.agent({ ...env, CURL_CA_BUNDLE: undefined })).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^no contact: https:\S+ has no valid certificate; or the clock is wrong\n$/),
    });
    await writeFile(netrc, `machine localhost login ${HOST} password wrong\n`);
    expect(await machine.agent(env)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^no contact: https:\S+ refuses this machine's password\n$/),
    });
    server.close();
    server.closeAllConnections();
    await once(server, "close");
    expect(await machine.agent(env)).toMatchObject({
      status: 75,
      stderr: expect.stringMatching(/^no contact: curl: .*Fail.*connect/),
    });
    expect((await exec("sh", ["-c", "ls -d $BENTO_STATE/.https.*"], { env: machine.env })).stdout).toBe("");
  });
});
