import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { temporaryDirectory } from "../../src/platform/temporary.ts";
import { succeed } from "../support/programs.ts";

/** A cache over ssh, in utils/fleet.nix and utils/bento.nix: with the module systems of NixOS 20.09 and of today. */
const root = packageRoot();
const { BENTO_TEST_NIXPKGS: nixpkgs, BENTO_TEST_NIXPKGS_LIB: today } = process.env;
const libs = [...(today ? [["today", today]] : []), ...(nixpkgs ? [["20.09", `${nixpkgs}/lib`]] : [])] as const;

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIUZOYdsHiPCN34H2mzuQ01j2h0LAR55wRQBCM3pJ/l";
const fleetJson = (cache?: string) => ({
  version: 1,
  server: { root: "/home/chroot", user: "bento", publishers: [KEY], loginPrefix: "", cache },
  hosts: { router: { login: "router", key: KEY }, nas: { login: "b-nas", key: KEY } },
});

async function evaluated(lib: string, modules: string, wanted: string) {
  const expression = `let e = import ${root}/test/fixtures/modules/eval.nix { lib = ${lib}; modules = [ ${modules} ]; };
    inherit (e) config; in { inherit (e) failed; inherit (${wanted}) value; }`;
  return JSON.parse(await succeed("nix-instantiate", ["--eval", "--strict", "--json", "--expr", expression]));
}

describe.skipIf(libs.length === 0)(
  `a cache over ssh${libs.length === 0 ? " (needs BENTO_TEST_NIXPKGS or BENTO_TEST_NIXPKGS_LIB)" : ""}`,
  () => {
    test.each(libs)("the server connects hosts to the cache alone, the publisher to nothing: %s", async (_, lib) => {
      await using scratch = await temporaryDirectory();
      const place = (name: string) => path.join(scratch.path, name);
      await writeFile(place("fleet.json"), JSON.stringify(fleetJson("10.0.0.5:5000")));
      const { failed, value } = await evaluated(
        lib,
        `${root}/utils/fleet.nix { services.openssh.enable = true; services.bento-server.enable = true;
        services.bento-server.fleetFile = ${place("fleet.json")}; }`,
        `{ value = { sshd = config.services.openssh.extraConfig;
        keys = builtins.mapAttrs (name: user: user.openssh.authorizedKeys.keys) config.users.users; }; }`,
      );
      expect(failed).toEqual([]);
      const forwarding = `restrict,port-forwarding,permitopen="10.0.0.5:5000" ${KEY}`;
      expect(value.keys).toEqual({ bento: [`restrict ${KEY}`], "b-nas": [forwarding], router: [forwarding] });

      await succeed("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", place("key")]);
      await mkdir("/run/sshd", { recursive: true });
      await writeFile(place("sshd_config"), value.sshd);
      const sshd = await succeed("sh", ["-c", "PATH=$PATH:/usr/sbin:/sbin command -v sshd"]);
      const rules = async (user: string) => {
        const connection = `user=${user},host=client.example.org,addr=192.0.2.1`;
        const text = await succeed(sshd, ["-T", "-f", place("sshd_config"), "-h", place("key"), "-C", connection]);
        return text.split("\n");
      };
      for (const host of ["router", "b-nas"]) {
        expect(await rules(host)).toEqual(
          expect.arrayContaining([
            "forcecommand internal-sftp -u 0027",
            "disableforwarding no",
            "allowtcpforwarding local",
            "permitopen 10.0.0.5:5000",
            "permitlisten none",
            "gatewayports no",
            "allowstreamlocalforwarding no",
            "allowagentforwarding no",
            "x11forwarding no",
            "permittunnel no",
            "permittty no",
          ]),
        );
      }
      expect(await rules("bento")).toEqual(expect.arrayContaining(["disableforwarding yes", "permitopen any"]));
      // What other logins of the machine can do is nobody's business here.
      expect(await rules("alice")).toEqual(expect.arrayContaining(["disableforwarding no", "permitopen any"]));
    });

    test.each(libs)("what is no address in numbers stops the system: %s", async (_, lib) => {
      await using scratch = await temporaryDirectory();
      const file = path.join(scratch.path, "fleet.json");
      for (const cache of ["any", "localhost:5000", "10.0.0.5:5000\nPermitOpen any", '10.0.0.5:5000" ']) {
        await writeFile(file, JSON.stringify(fleetJson(cache)));
        const { failed } = await evaluated(
          lib,
          `${root}/utils/fleet.nix { services.openssh.enable = true; services.bento-server.enable = true;
          services.bento-server.fleetFile = ${file}; }`,
          "{ value = null; }",
        );
        expect(failed).toEqual([expect.stringContaining("is no ADDRESS:PORT in numbers")]);
      }
    });

    test.each(libs)("on a host nix.conf has the other caches only: %s", async (_, lib) => {
      await using scratch = await temporaryDirectory();
      const file = path.join(scratch.path, "bento.json");
      const substituters = [
        { url: "http://10.0.0.5:5000", key: "near-1:AAAA", over: "10.0.0.5:5000" },
        { url: "https://cache.example.org", key: "far-1:AAAA" },
      ];
      await writeFile(file, JSON.stringify({ version: 1, server: null, git: null, signers: [KEY], substituters }));
      const { value } = await evaluated(
        lib,
        `${root}/utils/bento.nix { services.openssh.enable = true;
        services.bento = { enable = true; configFile = ${file}; }; }`,
        "{ value = { inherit (config.nix.settings) substituters trusted-public-keys connect-timeout; }; }",
      );
      expect(value).toEqual({
        substituters: ["https://cache.example.org"],
        "trusted-public-keys": ["far-1:AAAA"],
        // Whoever calls Nix there waits as long as an upgrade.
        "connect-timeout": 3,
      });
    });
  },
);
