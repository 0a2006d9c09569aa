import { describe, expect, test } from "vitest";
import { json, nixpkgs, root } from "./nixos.ts";

/**
 * utils/runner.nix: on a real NixOS of 20.09 (BENTO_TEST_NIXPKGS), which has no GitHub runners, and with today's module system
 * (BENTO_TEST_NIXPKGS_LIB), where they and nginx are stubs.
 */
const lib = process.env.BENTO_TEST_NIXPKGS_LIB;

describe.skipIf(!lib)("with today's module system", () => {
  const machine = (settings: string) =>
    json(`let e = import ${root}/test/fixtures/modules/eval.nix {
      lib = ${lib};
      modules = [ ${root}/utils/runner.nix { services.bento-runner.enable = true; ${settings} } ];
    }; in {
      inherit (e) failed documented;
      inherit (e.config.services) github-runners;
      nginx = e.config.services.nginx.virtualHosts;
      inherit (e.config.nix) gc extraOptions;
      inherit (e.config.networking.firewall) allowedTCPPorts;
      users = builtins.attrNames e.config.users.users;
      tmpfiles = e.config.systemd.tmpfiles.rules;
    }`);

  test("a runner whose jobs start anew, and a cache that shows signatures and makes none", async () => {
    const found = await machine(
      'services.bento-runner.github = { url = "https://github.com/example/fleet"; tokenFile = "/run/token"; };',
    );
    expect(found.failed).toEqual([]);
    expect(found["github-runners"].bento).toMatchObject({
      ephemeral: true,
      user: "bento-runner",
      extraLabels: ["bento"],
      url: "https://github.com/example/fleet",
      extraEnvironment: {
        XDG_STATE_HOME: "/var/lib/bento-runner/state",
        BENTO_EVALUATIONS: "/var/lib/bento-runner/evaluations",
      },
      serviceOverrides: { DynamicUser: false, ReadWritePaths: ["/var/lib/bento-runner"] },
    });
    expect(found["github-runners"].bento.serviceOverrides.InaccessiblePaths).toContain("-/run/token");
    expect(found.nginx).toEqual({
      "bento-cache": { listen: [{ addr: "0.0.0.0", port: 5000 }], root: "/var/lib/bento-runner/cache" },
    });
    expect(found.tmpfiles).toContain("d /var/lib/bento-runner/cache 2750 bento-runner nginx -");
    expect(found.allowedTCPPorts).toEqual([]);
    expect(found.users).toEqual(["bento-runner"]);
    expect(found.gc).toEqual({ automatic: true, dates: "weekly" });
    expect(found.extraOptions).toBe("min-free = 10737418240\nmax-free = 32212254720\n");
    expect(found.tmpfiles).toContain("d /var/lib/bento-runner/state 0750 bento-runner bento-runner -");
    for (const option of found.documented) {
      expect(option.description, option.name).toMatch(/\w{3}/);
      // NixOS up to 22.11 reads descriptions as DocBook, where these begin something.
      expect(option.description, option.name).not.toMatch(/[<&]/);
    }
  });

  test("without GitHub and without a cache it is only a place for results", async () => {
    const found = await machine("services.bento-runner.cache.enable = false;");
    expect([found.failed, found["github-runners"], found.nginx]).toEqual([[], {}, {}]);
  });

  test("the firewall opens when it is told to", async () => {
    const found = await machine("services.bento-runner.cache = { openFirewall = true; port = 8080; };");
    expect(found.allowedTCPPorts).toEqual([8080]);
    expect(found.nginx["bento-cache"].listen).toEqual([{ addr: "0.0.0.0", port: 8080 }]);
  });

  test.each([
    ['nix.settings.secret-key-files = [ "/key" ];', "signs whatever is built, by pull requests too"],
    ['nix.extraOptions = "secret-key-files = /key";', "signs whatever is built, by pull requests too"],
    ['nix.settings.trusted-users = [ "root" "bento-runner" ];', "jobs run as bento-runner"],
    ['nix.settings.trusted-users = [ "*" ];', "jobs run as bento-runner"],
    ["nix.settings.sandbox = false;", "Set nix.settings.sandbox = true"],
    ['services.bento-runner.github.url = "https://github.com/example/fleet";', "tokenFile is missing"],
    [
      'services.bento-runner.github = { url = "https://x"; tokenFile = builtins.storeDir + "/token"; };',
      "is in the Nix store",
    ],
  ])("%s is refused, in one line", async (settings, message) => {
    const { failed } = await machine(settings);
    expect(failed).toEqual([expect.stringContaining(message)]);
    expect(failed[0]).not.toContain("\n");
  });
});

describe.skipIf(!nixpkgs)("on NixOS 20.09", () => {
  const machine = (settings: string) =>
    json(`let
      nixos = import ${nixpkgs}/nixos { configuration = {
        imports = [ ${root}/utils/runner.nix ];
        fileSystems."/" = { device = "/dev/vda1"; fsType = "ext4"; };
        boot.loader.grub.device = "/dev/vda";
        services.bento-runner.enable = true;
        ${settings}
      }; };
      lib = import ${nixpkgs}/lib;
    in {
      failed = map (one: one.message) (lib.filter (one: !one.assertion) nixos.config.assertions);
      serve = nixos.config.services.nginx.virtualHosts.bento-cache.root;
      nix = nixos.config.environment.etc."nix/nix.conf".source.drvPath or nixos.config.nix.extraOptions;
      options = nixos.config.nix.extraOptions;
      user = nixos.config.users.users.bento-runner.group;
    }`);

  test("the cache is a directory that nginx shows", async () => {
    const found = await machine("");
    expect(found.failed).toEqual([]);
    expect(found.serve).toBe("/var/lib/bento-runner/cache");
    expect(found.options).toContain("min-free = 10737418240");
    expect(found.user).toBe("bento-runner");
  }, 60_000);

  test("what this release doesn't have is said, and so is what would sign everything", async () => {
    const found = await machine(
      `services.bento-runner.github = { url = "https://github.com/example/fleet"; tokenFile = "/run/token"; };
       nix.trustedUsers = [ "bento-runner" ]; nix.useSandbox = false;`,
    );
    expect(found.failed).toEqual([
      expect.stringContaining("this release of NixOS has no services.github-runners"),
      expect.stringContaining("jobs run as bento-runner"),
      expect.stringContaining("useSandbox"),
    ]);
  }, 60_000);
});
