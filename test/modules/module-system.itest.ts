import { expect, test } from "vitest";
import { json, lib, nixpkgs, root } from "./nixos.ts";

test.skipIf(!nixpkgs)("the modules do with a module system alone, and every option is documented", async () => {
  const [host, server, desk, strange, badName] = await json(
    `map (modules: let e = import ${root}/test/fixtures/modules/eval.nix { lib = ${lib}; inherit modules; }; in {
       inherit (e) failed documented;
       units = e.config.systemd.services;
       sockets = e.config.systemd.sockets;
       groups = builtins.attrNames e.config.users.groups;
       sshd = e.config.services.openssh.extraConfig;
       settings = e.config.services.openssh.settings;
     }) [
       [ ${root}/utils/bento.nix { services.openssh.enable = true; services.bento.enable = true; } ]
       [ ${root}/utils/fleet.nix { services.openssh.enable = true; services.bento-server.enable = true; } ]
       [ ${root}/utils/bento.nix {
           services.openssh.enable = true;
           services.bento = { enable = true; local.page.enable = true; notifications.desktop = true; };
           networking.enableIPv6 = false;
         } ]
       [ ${root}/utils/bento.nix {
           services.openssh.enable = true;
           services.bento = { enable = true; local.group = "whell"; };
         } ]
       [ ${root}/utils/bento.nix {
           services.openssh.enable = true;
           services.bento = { enable = true; secrets."../wifi" = { }; };
         } ]
     ]`,
  );
  expect([host.failed, server.failed]).toEqual([[], []]);
  expect(Object.keys(host.units)).toEqual(["bento-emergency", "bento-upgrade"]);
  expect(host.sockets).toEqual({});
  expect(desk.failed).toEqual([]);
  expect(desk.sockets["bento-page"].socketConfig.ListenStream).toEqual(["127.0.0.1:51337"]);
  expect(desk.sockets["bento-agent"].socketConfig.SocketGroup).toBe("bento-page");
  expect(desk.groups).toEqual(["bento-page"]);
  expect(strange.failed).toEqual([expect.stringContaining("'whell', and this machine has no such group")]);
  expect(badName.failed).toEqual([expect.stringContaining("../wifi can't be names of secrets")]);
  expect(server.settings.MaxStartups).toBe("200:30:1000");
  expect(server.settings.PerSourcePenalties).toBe("authfail:1 noauth:0 grace-exceeded:1");
  expect(server.sshd).toContain("ChrootDirectory /home/chroot/router\n");
  for (const option of [...host.documented, ...server.documented]) {
    expect(option.description, option.name).toMatch(/\w{3}/);
    // NixOS up to 22.11 reads descriptions as DocBook, where these begin something.
    expect(option.description, option.name).not.toMatch(/[<&]/);
  }
});
