import path from "node:path";
import { expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { withFleet } from "../support/with-fleet.ts";
import { bento, bentoJson, hostIn, lineOf } from "./bento.ts";
import { configuration } from "./configurations.ts";

// What changes, compared with another commit.

let fleet: FleetRepository;
let first: string;

withFleet({ resets: true }, (made) => {
  ({ fleet, first } = made);
});

const check = (...args: string[]) => bento(["check", ...args], { cwd: fleet.dir });
const checkJson = (...args: string[]) => bentoJson<CheckDocument>(["check", ...args], { cwd: fleet.dir });

/** Puts a mistake into the router's sixth line. */
const breakRouter = () => fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.nginxx");

test("--base says of each host whether its system changes, and by which packages", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.edit("hosts/router/configuration.nix", "networking", 'environment.etc.hello = "world";\n  networking');
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await fleet.commit("Changes");
  const { status, stdout, stderr } = await check("--base", "HEAD~1");
  expect(lineOf("nas", stdout)).toMatch(/^~ .* changed .*; \+curl 8\.17\.0, -postgresql 18\.1$/);
  expect(lineOf("router", stdout)).toMatch(/^~ .* changed .*; no package changes its version; not reproducible$/);
  expect(lineOf("printer", stdout)).toMatch(/^~ .* changed .*; a new host; not reproducible$/);
  for (const host of ["laptop-anna", "laptop-ben"]) expect(lineOf(host, stdout)).toMatch(/^· .* unchanged$/);
  expect(stdout).toMatch(/\n5 hosts: 3 changed, 2 unchanged \(compared with HEAD~1\)\n$/);
  expect(stderr).toContain(`comparing with ${first.slice(0, 12)}: 2 of 5 hosts differ in their files`);
  expect(status).toBe(0);
  expect((await fleet.git("worktree", "list")).split("\n")).toHaveLength(1);
});

test("--base in the document: the system before, and each package's versions", async () => {
  await fleet.edit("utils/common.nix", "pkgs.htop pkgs.openssh", "pkgs.htop pkgs.git");
  const { document } = await checkJson("--base", "main", "--hosts", "router");
  const router = hostIn(document, "router");
  expect(document.base).toBe("main");
  expect(router.status).toBe("changed");
  expect(router.base).toMatch(/-nixos-system-router-26\.05$/);
  expect(router.base).not.toBe(router.toplevel);
  expect(router.packages).toEqual([
    { name: "git", from: null, to: "2.52.0" },
    { name: "openssh", from: "10.2p1", to: null },
  ]);
});

test("a change that makes no other system is no change, though the file is another", async () => {
  await fleet.edit("hosts/router/configuration.nix", "networking", "# A comment.\n  networking");
  const { document } = await checkJson("--base", "HEAD", "--hosts", "router");
  expect(hostIn(document, "router")).toMatchObject({ status: "unchanged", packages: null });
});

test("a host that was broken at the base is compared with nothing", async () => {
  await breakRouter();
  await fleet.commit("broken");
  await fleet.git("revert", "--no-edit", "HEAD");
  const { status, document } = await checkJson("--base", "HEAD~1", "--hosts", "router");
  expect(hostIn(document, "router")).toMatchObject({ status: "changed", base: null, packages: null });
  expect(status).toBe(0);
});

test("a fleet that is new: at the base there was no directory for it", async () => {
  await fleet.write("infra/hosts/printer/configuration.nix", configuration("printer"));
  await fleet.commit("A fleet within");
  const { document } = await bentoJson<CheckDocument>(["check", "--base", "HEAD~1"], {
    cwd: path.join(fleet.dir, "infra"),
  });
  expect(document.hosts).toMatchObject([{ name: "printer", status: "changed", base: null }]);
});

test("a host that leaves the fleet is named, whichever hosts are checked", async () => {
  expect((await bento(["host", "remove", "nas"], { cwd: fleet.dir })).status).toBe(0);
  await fleet.commit("No more nas");
  const { document } = await checkJson("--base", "HEAD~1", "--hosts", "router");
  expect(document.warnings.filter((text) => text.includes("leaves"))).toEqual([
    "nas leaves the fleet: it gets no more releases, and no login where the server is set up again",
  ]);
  expect((await checkJson("--base", "HEAD", "--hosts", "router")).document.warnings).not.toContainEqual(
    expect.stringContaining("leaves"),
  );
});

test("who mends a fleet.yaml that was wrong at the base isn't told that it is", async () => {
  await fleet.edit("fleet.yaml", "hosts:\n", "hosts:\n  gone: {}\n");
  await fleet.commit("A mistake");
  await fleet.git("revert", "--no-edit", "HEAD");
  const { status, document } = await checkJson("--base", "HEAD~1", "--hosts", "router");
  expect(document.warnings).toEqual([
    expect.stringMatching(
      /^nothing is compared, since the fleet is wrong at [0-9a-f]{12}: fleet\.yaml:\d+:3: gone: there is no hosts\/gone\//,
    ),
  ]);
  expect([status, document.base, hostIn(document, "router").status]).toEqual([0, null, "ok"]);
});

test("a base that git doesn't know is a mistake, and not no comparison", async () => {
  const { status, stdout, stderr } = await check("--base", "nowhere");
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toBe(
    "error: git knows no commit 'nowhere' here\n→ git fetch it; on GitHub, check out with fetch-depth: 0\n",
  );
});

test("another kernel needs a reboot, and so says the host", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "networking", 'boot.kernelVersion = "6.19.0";\n  networking');
  await fleet.commit("nas: another kernel");
  const { stdout, document } = await checkJson("--base", "HEAD~1");
  expect(stdout).not.toBe("");
  expect(hostIn(document, "nas")).toMatchObject({ status: "changed", reboot: true });
  expect(lineOf("nas", (await check("--base", "HEAD~1")).stdout)).toMatch(/needs a reboot$/);
  expect(hostIn(document, "router")).toMatchObject({ status: "unchanged", reboot: null });
});
