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

  const GITHUB = 'url = "https://github.com/example/fleet"; tokenFile = "/run/token";';

  test("a runner whose jobs start anew, and a cache that shows signatures and makes none", async () => {
    const found = await machine(`services.bento-runner.github = { ${GITHUB} };`);
    expect(found.failed).toEqual([]);
    expect(Object.keys(found["github-runners"])).toEqual(["bento-deploy"]);
    const deploy = found["github-runners"]["bento-deploy"];
    expect(deploy).toMatchObject({
      ephemeral: true,
      user: "bento-deploy",
      name: "nixos",
      extraLabels: ["bento-deploy"],
      runnerGroup: null,
      url: "https://github.com/example/fleet",
      extraEnvironment: {
        XDG_STATE_HOME: "/var/lib/bento-runner/state",
        BENTO_EVALUATIONS: "/var/lib/bento-runner/evaluations:/var/lib/bento-runner/pull-requests/evaluations",
      },
      serviceOverrides: {
        DynamicUser: false,
        ReadWritePaths: ["state", "evaluations", "cache"].map((name) => `/var/lib/bento-runner/${name}`),
      },
    });
    expect(deploy.serviceOverrides.InaccessiblePaths).toContain("-/run/token");
    expect(found.nginx).toEqual({
      "bento-cache": { listen: [{ addr: "0.0.0.0", port: 5000 }], root: "/var/lib/bento-runner/cache" },
    });
    expect(found.tmpfiles).toContain("d /var/lib/bento-runner/cache 2750 bento-deploy nginx -");
    expect(found.tmpfiles).toContain("d /var/lib/bento-runner/state 0700 bento-deploy bento-deploy -");
    expect(found.allowedTCPPorts).toEqual([]);
    expect(found.users).toEqual(["bento-deploy", "bento-runner"]);
    expect(found.gc).toEqual({ automatic: true, dates: "weekly" });
    expect(found.extraOptions).toBe("min-free = 10737418240\nmax-free = 32212254720\n");
    for (const option of found.documented) {
      expect(option.description, option.name).toMatch(/\w{3}/);
      // NixOS up to 22.11 reads descriptions as DocBook, where these begin something.
      expect(option.description, option.name).not.toMatch(/[<&]/);
    }
  });

  test("pull requests have a runner of their own when it is asked for, which shares no place with the other", async () => {
    const found = await machine(`services.bento-runner.github = {
      ${GITHUB} name = "builder"; runnerGroup = "fleet-deploy";
      pullRequests = { enable = true; labels = [ "pr" ]; runnerGroup = "fleet-checks"; };
    };`);
    expect(found.failed).toEqual([]);
    const { bento, "bento-deploy": deploy } = found["github-runners"];
    expect([deploy.name, deploy.runnerGroup, deploy.extraLabels]).toEqual([
      "builder",
      "fleet-deploy",
      ["bento-deploy"],
    ]);
    expect(bento).toMatchObject({
      user: "bento-runner",
      name: "builder-pull-requests",
      runnerGroup: "fleet-checks",
      extraLabels: ["pr"],
      ephemeral: true,
      extraEnvironment: {
        XDG_STATE_HOME: "/var/lib/bento-runner/pull-requests/state",
        BENTO_EVALUATIONS: "/var/lib/bento-runner/pull-requests/evaluations",
      },
      serviceOverrides: {
        ReadWritePaths: ["state", "evaluations"].map((name) => `/var/lib/bento-runner/pull-requests/${name}`),
      },
    });
    const places = new Set(deploy.serviceOverrides.ReadWritePaths);
    expect(bento.serviceOverrides.ReadWritePaths.filter((place: string) => places.has(place))).toEqual([]);
  });

  test("without GitHub and without a cache it is only a place for results", async () => {
    const found = await machine("services.bento-runner.cache.enable = false;");
    expect([found.failed, found["github-runners"], found.nginx]).toEqual([[], {}, {}]);
    expect(found.tmpfiles.join()).not.toContain("cache");
  });

  test("the firewall opens when it is told to", async () => {
    const found = await machine("services.bento-runner.cache = { openFirewall = true; port = 8080; };");
    expect(found.allowedTCPPorts).toEqual([8080]);
    expect(found.nginx["bento-cache"].listen).toEqual([{ addr: "0.0.0.0", port: 8080 }]);
  });

  test.each([
    ['nix.settings.secret-key-files = [ "/key" ];', "signs whatever is built, by pull requests too"],
    ['nix.extraOptions = "secret-key-files = /key";', "signs whatever is built, by pull requests too"],
    ['nix.settings.trusted-users = [ "root" "bento-runner" ];', "trusted-users has bento-runner"],
    ['nix.settings.trusted-users = [ "@bento-deploy" ];', "trusted-users has @bento-deploy"],
    ['nix.settings.trusted-users = [ "*" ];', "trusted-users has *"],
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
      users = map (name: nixos.config.users.users.\${name}.group) [ "bento-deploy" "bento-runner" ];
    }`);

  test("the cache is a directory that nginx shows", async () => {
    const found = await machine("");
    expect(found.failed).toEqual([]);
    expect(found.serve).toBe("/var/lib/bento-runner/cache");
    expect(found.options).toContain("min-free = 10737418240");
    expect(found.users).toEqual(["bento-deploy", "bento-runner"]);
  }, 60_000);

  test("what this release doesn't have is said, and so is what would sign everything", async () => {
    const found = await machine(
      `services.bento-runner.github = { url = "https://github.com/example/fleet"; tokenFile = "/run/token"; };
       nix.trustedUsers = [ "bento-runner" ]; nix.useSandbox = false;`,
    );
    expect(found.failed).toEqual([
      expect.stringContaining("this release of NixOS has no services.github-runners"),
      expect.stringContaining("trusted-users has bento-runner"),
      expect.stringContaining("useSandbox"),
    ]);
  }, 60_000);
});
