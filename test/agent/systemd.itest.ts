import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { bootstrap } from "../../src/commands/bootstrap.ts";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import type { BootedMachine, Cable } from "../support/booted.ts";
import {
  configurationWith,
  evaluateModule,
  installModule,
  installSystem,
  type Module,
} from "../support/booted-module.ts";
import { bootedWorld, describeBooted, prepareWith } from "../support/booted-world.ts";
import type { KeyPair } from "../support/keys.ts";
import { long } from "../support/long.ts";
import { encrypt } from "../support/secrets.ts";
import type { World } from "../support/world.ts";

const NOBODY = "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep infinity\nStandardInput=null\n";
/** As of fileSystems whose device isn't there; what stage 2 of NixOS waits for, too. */
const NO_FILE_SYSTEM = `
  cd /etc/systemd/system
  printf '[Unit]\\nBefore=local-fs.target\\n[Mount]\\nWhat=none\\nWhere=/data\\nType=nothing\\n' > data.mount
  mkdir -p local-fs.target.requires
  ln -sf ../data.mount local-fs.target.requires/`;

/** A machine that systemd has booted, with the units and the command that NixOS makes of services.bento. */
describeBooted("on systemd", () => {
  const make = bootedWorld();
  let world: World;
  let cable: Cable;
  let machine: BootedMachine;
  let settings: string;

  beforeAll(async () => {
    ({ world, cable, machine } = await make("far"));
    settings = path.join(world.dir, "bento.json");
    await writeFile(settings, world.agentSettings());
    await prepareWith(machine, world.hostKeys.far as KeyPair);
    const first = await evaluate();
    await install(first);
    await machine.write("/etc/nixos/configuration.nix", configuration(first));
    // What starts by default is nothing else than with its first process, and not what this machine starts.
    await rm(machine.path("/etc/systemd/system/default.target.wants"), { recursive: true, force: true });
    await symlink("bento-test.target", machine.path("/etc/systemd/system/default.target"));
    // Its shell would find nobody to talk to, and end the emergency.
    await machine.write("/etc/systemd/system/emergency.service.d/nobody.conf", NOBODY);
    await machine.boot();
    await installSystem(machine);
  }, 300_000);
  const evaluate = (more = "") => evaluateModule("far", settings, more);
  const install = (module: Module) => installModule(machine, module);
  const configuration = (module: Partial<Module>, script = "") => configurationWith("far", cable, module, script);

  let good: Module;
  const publish = (text: string) => world.publish("far", { files: { "configuration.nix": text } }, { evaluate: false });

  test("the timer brings it to the release, whose agent and units replace those that activate it", async () => {
    const next = await evaluate(`
      environment.BENTO_KEEP_REPORTS = "40";
      local = { group = "users"; page.enable = true; };
    `);
    await install(next);
    good = next;
    const { manifest } = await publish(configuration(next));
    await machine.says(new RegExp(`^up to date with release ${manifest.sequence}$`));
    expect(await machine.run("systemctl show -p ExecStart --value bento-upgrade.service")).toContain(next.command.path);
    expect(await world.outcomes("far")).toEqual(["success"]);
    expect(await world.report("far")).toMatchObject({ to: await machine.run("readlink /run/current-system") });
    expect(await machine.run("readlink -f /nix/var/nix/profiles/system")).toBe(
      await machine.run("readlink /boot/default"),
    );
    // Nothing of it is left over.
    expect(
      await machine.run("systemctl list-units --all --no-legend 'bento-guard*'; ls /run/bento | grep guard || true"),
    ).toBe("");
  });

  test("who isn't root asks over the socket, and a browser on the page", async () => {
    const member = (groups: string, ask: string) =>
      machine.exec(`setpriv --reuid nobody --regid nogroup ${groups} ${good.command.path}/bin/bento-agent ${ask}`);
    // Nothing else is to happen meanwhile.
    await machine.run("systemctl stop bento-upgrade.timer");
    const suspended = await member("--groups users", "suspend --for 1h --reason 'a fair'");
    expect(suspended.stdout).toMatch(/^upgrades are suspended until \S+ by nobody: a fair; /);
    expect(await member("--groups users", "upgrade")).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\S+ upgrades are suspended until \S+ by nobody: a fair\n$/),
    });
    expect((await member("--groups users", "resume")).status).toBe(0);
    expect(await member("--clear-groups", "status")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("of the group users"),
    });

    const request = (lines: string) =>
      machine.run(
        `exec 3<> /dev/tcp/localhost/51337; printf '${lines}\\r\\nHost: localhost:51337\\r\\n\\r\\n' >&3; cat <&3`,
      );
    const from = machine.logged;
    const { sequence } = await world.report("far");
    expect(await request("POST /upgrade HTTP/1.1\\r\\nX-Bento: upgrade")).toMatch(
      new RegExp(`^HTTP/1.1 200 [^]*\\n\\S+ up to date with release ${sequence}\\nexit 0$`),
    );
    // It was the unit that did it, and neither of the two that asked for it.
    await machine.says(/^Finished .*Upgrade to the fleet's release/, from);
    const status = await request("GET /status HTTP/1.1");
    expect(JSON.parse(status.slice(status.indexOf("{")))).toMatchObject({ host: "far", upgrading: false });
    expect(await request("POST /upgrade HTTP/1.1")).toMatch(/^HTTP\/1.1 403 /);
    expect(JSON.parse(status.slice(status.indexOf("{"))).nextPoll).toBeNull();
    await machine.run("systemctl start bento-upgrade.timer");
    // While the service runs, its timer waits for nothing; with the lock taken it doesn't run for long.
    const next = `until next=$(${good.command.path}/bin/bento-agent status --json | jq -er .nextPoll); do sleep 0.1; done`;
    const time = await machine.run(`flock /run/bento/lock bash -c '${next}; echo $next'`);
    expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000);
  });

  test("what answers people can do little else, by systemd's own measure", async () => {
    for (const [unit, most] of [
      ["bento-agent@", 3],
      ["bento-page@", 1.5],
    ] as const) {
      const measure = `systemd-analyze security --no-pager --threshold=${most * 10} ${unit}0-0-0.service | tail -n 1`;
      expect(await machine.run(`set -o pipefail; ${measure}`)).toMatch(/exposure level for /);
    }
  });

  test("a release that cuts its network is undone, and the machine says so by itself", async () => {
    const before = await machine.run("readlink /run/current-system");
    const { manifest } = await publish(configuration(good, `ip link set ${cable.interface} down`));
    await machine.says(new RegExp(`^release ${manifest.sequence} cut this machine off before`));
    expect(machine.log).toMatch(/^rolled-back: no contact: sftp: \S+ can't be reached: /m);
    expect(await world.report("far")).toMatchObject({ outcome: "rolled-back", sequence: manifest.sequence });
    expect(await machine.run("readlink /run/current-system")).toBe(before);
    expect(await machine.run("readlink /boot/default")).toBe(before);
  });

  test("one that ends its agent as well is undone by the guard, and told of by the next run", async () => {
    const before = await machine.run("readlink /run/current-system");
    // Whoever is to put this right can't be told any more.
    const ends = `ip link set ${cable.interface} down
      systemctl stop bento-upgrade.timer
      systemctl kill --signal=KILL bento-upgrade.service`;
    const from = machine.logged;
    const { manifest } = await publish(configuration(good, ends));
    await machine.says(/^bento-upgrade.service: Main process exited, code=killed/, from);
    expect((await machine.exec(`ip link show ${cable.interface} up`)).stdout).toBe("");
    await machine.says(
      /^inconclusive: the upgrade was cut off before it was confirmed; the system before it runs again$/,
      from,
    );
    await machine.says(new RegExp(`^release ${manifest.sequence} failed before, and is tried again in `));
    expect(machine.log).toMatch(/^Started bento-guard-\d+-\d+\.service/m);
    expect(await world.report("far")).toMatchObject({ outcome: "inconclusive", sequence: manifest.sequence });
    expect(await machine.run("readlink /run/current-system")).toBe(before);
    expect(await machine.run("readlink /boot/default")).toBe(before);

    const mended = await publish(configuration(good, "echo mended"));
    await machine.says(new RegExp(`^up to date with release ${mended.manifest.sequence}$`));
  });

  const fatal = `${NO_FILE_SYSTEM}
    systemctl daemon-reload
    systemctl start local-fs.target default.target`;

  /** It is out of it, and runs and boots what it did. */
  async function isBack(before: string): Promise<void> {
    expect(await machine.run("readlink /run/current-system")).toBe(before);
    expect(await machine.run("readlink /boot/default")).toBe(before);
    expect(await machine.run("systemctl is-active default.target bento-upgrade.timer")).toBe("active\nactive");
    expect((await machine.exec("systemctl is-active emergency.target")).stdout).toBe("inactive\n");
  }

  test("one that sends it into emergency mode, where nothing runs any more, is undone", async () => {
    const before = await machine.run("readlink /run/current-system");
    const from = machine.logged;
    const { manifest } = await publish(configuration(good, `${fatal} || exit 4`));
    await machine.says(/^Reached target .*Emergency Mode/, from);
    await machine.says(new RegExp(`^release ${manifest.sequence} cut this machine off before`), from);
    expect(await world.report("far")).toMatchObject({
      outcome: "rolled-back",
      sequence: manifest.sequence,
      reason: expect.stringMatching(/emergency mode/),
    });
    await isBack(before);
  });

  test("one after which its timer doesn't run is undone: nobody would ask the server again", async () => {
    const before = await machine.run("readlink /run/current-system");
    const from = machine.logged;
    const { manifest } = await publish(configuration(good, "systemctl stop bento-upgrade.timer"));
    await machine.says(new RegExp(`^release ${manifest.sequence} cut this machine off before`), from);
    expect(await world.report("far")).toMatchObject({
      outcome: "rolled-back",
      reason: "bento-upgrade.timer does not run, so nobody would ask the server again",
    });
    await isBack(before);
  });

  long("one that ends its agent as well is undone by the guard", async () => {
    const before = await machine.run("readlink /run/current-system");
    const from = machine.logged;
    await publish(configuration(good, `${fatal} || systemctl kill --signal=KILL bento-upgrade.service`));
    await machine.says(/^Reached target .*Emergency Mode/, from);
    await machine.says(/^inconclusive: the upgrade was cut off before it was confirmed/, from);
    await isBack(before);
    const mended = await publish(configuration(good, "echo mended again"));
    await machine.says(new RegExp(`^up to date with release ${mended.manifest.sequence}$`), from);
  });

  test("bootstrap takes over from the timer of the 2022 Bento, whoever hangs up meanwhile", async () => {
    // A system with the units of 2022, and what they run.
    const old: Module["units"] = {
      "bento-upgrade.timer":
        "[Timer]\nOnCalendar=*:*:0/3\nAccuracySec=100ms\nUnit=bento-upgrade.service\n[Install]\nWantedBy=timers.target\n",
      "bento-upgrade.service":
        '[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/bin/bash -c "cd /var/bento; /bin/sh update.sh"\nEnvironment=PATH=/usr/bin:/bin\n',
    };
    await machine.write("/etc/nixos/configuration.nix", configuration({ units: old }));
    await machine.run(`set -e
      systemctl stop bento-upgrade.timer bento-upgrade.service bento-agent.socket bento-page.socket
      rm -rf /var/bento && mkdir /var/bento && echo 'echo the old Bento runs' > /var/bento/update.sh`);
    await installSystem(machine, "/root/old");
    let from = await machine.says(/^the old Bento runs$/, machine.logged);

    const fleet = path.join(world.dir, "fleet");
    await mkdir(path.join(fleet, "hosts/far"), { recursive: true });
    await writeFile(path.join(fleet, "hosts/far/configuration.nix"), "{ }\n");
    const { serverSettings: server, signingKey, hostKeys } = world;
    const yaml = { server, signers: [signingKey.publicKey], hosts: { far: { key: hostKeys.far?.publicKey } } };
    await writeFile(path.join(fleet, "fleet.yaml"), JSON.stringify(yaml));
    for (const [file, text] of renderedFiles(await loadFleet(fleet))) {
      await mkdir(path.dirname(path.join(fleet, file)), { recursive: true });
      await writeFile(path.join(fleet, file), text);
    }
    const { hosts } = await bootstrap({ fleet, host: "far", isNew: false });
    await machine.write("/root/bootstrap", hosts[0]?.script ?? "");
    const run = (then: string) =>
      machine.exec(`export NIX_PATH=nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos BENTO_CONFIRM_SETTLE=2
        export BENTO_MIN_FREE_STORE=0 BENTO_MIN_FREE_BOOT=0; ${then}`);

    // Between two of its upgrades, unless it is to be in one.
    const atRest = async () => {
      await machine.says(/^Finished bento-upgrade.service/, await machine.says(/^the old Bento runs$/, machine.logged));
    };

    // What it is doing it does to the end.
    await machine.run(`cd /root && mkfifo go && mv /var/bento/update.sh . &&
      echo 'echo the old Bento upgrades; read -r _ < /root/go' > /var/bento/update.sh`);
    await machine.says(/^the old Bento upgrades$/, from);
    const busy = await run("sh /root/bootstrap");
    expect(busy.stderr).toMatch(/^takeover: an upgrade of its own is going on: run this again when that has ended /m);
    expect(busy.status).toBe(75);
    await machine.run("mv /root/update.sh /var/bento/ && echo > /root/go");

    // One without an agent would leave nobody to poll.
    await publish(configuration({}));
    await atRest();
    from = machine.logged;
    const refused = await run("BENTO_CONFIRM_TIMEOUT=2 sh /root/bootstrap");
    expect(refused.stderr).toMatch(
      /^rolled-back: the health check agent-reaches-server failed: the release has no agent: /m,
    );
    expect(refused.stderr).toMatch(/^takeover: undone, the Bento of 2022 goes on; /m);
    expect(refused.status).toBe(1);
    // While it is going on the old timer finds the way back, and leaves it alone.
    await machine.says(/^takeover: it is going on$/, from);

    const { manifest } = await publish(configuration(good, "echo taken over"));
    await atRest();
    from = machine.logged;
    expect((await run("sh /root/bootstrap 2>&1 | { read -r line; echo $line; }")).stdout).toBe(
      "takeover: the Bento of 2022 looks after this machine\n",
    );
    await machine.says(new RegExp(`^up to date with release ${manifest.sequence}$`), from);
    expect(await machine.run("systemctl show -p ExecStart --value bento-upgrade.service")).toContain(good.command.path);
    expect(await machine.run("cat /var/bento.2022/update.sh")).toBe("echo the old Bento runs");
    expect(await machine.run("readlink /boot/default")).toBe(await machine.run("readlink /run/current-system"));
    expect(await world.report("far")).toMatchObject({ outcome: "success", sequence: manifest.sequence });
    await machine.run("until [ -e /run/bento/bootstrap/status ]; do sleep 0.1; done");
    expect(await machine.run("systemctl list-units --all --no-legend 'bento-bootstrap*' 'bento-guard*'")).toBe("");
  });

  test("secrets: who reads one is restarted for it, also by the guard, and has it at the next start", async () => {
    const declared = `secrets.token = { owner = "nobody"; mode = "0400"; restartUnits = [ "reader.service" ]; };`;
    const module = await evaluate(declared);
    await install(module);
    // With one value it ends whoever has given it that, and whoever could be told.
    const reads = `t=$(cat /run/bento-secrets/token); echo "the reader has $t"
      if [ "$t" = a-fatal-value ]; then
        systemctl stop bento-upgrade.timer; systemctl kill --signal=KILL bento-upgrade.service
      fi
      exec sleep infinity`;
    await machine.write("/root/reader", `#!/bin/sh\n${reads}\n`, 0o755);
    const units = { ...module.units, "reader.service": "[Service]\nExecStart=/root/reader\n" };
    const system = configuration({ ...module, units }, "systemctl start --no-block reader.service");
    const publishWith = async (token: string) => {
      const dir = path.join(world.dir, `with-${token}`);
      await mkdir(path.join(dir, "tree"), { recursive: true });
      await writeFile(path.join(dir, "tree/configuration.nix"), system);
      await encrypt(token, world.hostKeys.far?.publicKey ?? "", path.join(dir, "secrets/token.age"));
      return world.publish("far", { dir }, { evaluate: false });
    };

    let from = machine.logged;
    await publishWith("the-first-value");
    await machine.says(/^the reader has the-first-value$/, from);
    await machine.says(/^up to date with release /, from);
    expect(await machine.run("stat -Lc '%U %a' /run/bento-secrets/token")).toBe("nobody 400");
    const running = await machine.run("readlink /run/current-system");

    from = machine.logged;
    await publishWith("another-value");
    from = await machine.says(/^restarting reader\.service for its secret$/, from);
    await machine.says(/^the reader has another-value$/, from - 1);
    from = await machine.says(/^success$/, from);
    expect(await machine.run("readlink /run/current-system")).toBe(running);

    from = machine.logged;
    await publishWith("a-fatal-value");
    await machine.says(/^the reader has a-fatal-value$/, from);
    from = await machine.says(/^bento-upgrade.service: Main process exited, code=killed/, from);
    await machine.says(/^the reader has another-value$/, from);
    expect(await machine.run("cat /run/bento-secrets/token")).toBe("another-value");
    await machine.says(/^inconclusive: the upgrade was cut off before it was confirmed/, from);
    await machine.run("systemctl stop bento-upgrade.timer");

    // The links that NixOS makes beside the units.
    for (const [unit, targets] of Object.entries({ ...module.wantedBy, "reader.service": ["bento-test.target"] })) {
      if (!/^(bento-secrets|reader)\./.test(unit)) continue;
      for (const target of targets) {
        const wants = `/etc/systemd/system/${target}.wants`;
        await machine.run(`mkdir -p ${wants} && ln -sfn ../${unit} ${wants}/${unit}`);
      }
    }
    await machine.powerOff();
    from = machine.logged;
    await machine.boot("ln -s $(readlink /boot/default) /run/current-system");
    await machine.says(/^the reader has another-value$/, from);
    expect(await machine.run("stat -Lc '%U %a' /run/bento-secrets/token")).toBe("nobody 400");
    const when = await machine.run(
      "systemctl show -p ActiveEnterTimestampMonotonic --value bento-secrets.service sysinit.target",
    );
    const [decrypted = 0, initialised = 0] = when.split(/\s+/).map(Number);
    expect(decrypted).toBeGreaterThan(0);
    expect(decrypted).toBeLessThan(initialised);
  });

  test("an older system that was chosen at the boot menu is known for one, and boots for good when somebody says so", async () => {
    const newer = await machine.run("readlink -f /nix/var/nix/profiles/system");
    const older = await machine.run(
      "readlink -f $(ls -d /nix/var/nix/profiles/system-*-link | sort -V | tail -n 2 | head -n 1)",
    );
    await machine.powerOff();
    await machine.boot(`ln -s ${older} /run/current-system; ln -s ${older} /run/booted-system`);
    // Its cable went with its first start.
    await machine.run(`ip link add ${cable.interface} type veth peer name nowhere`);
    const status = async () => JSON.parse(await machine.run(`${good.command.path}/bin/bento-agent status --json`));
    expect(await status()).toMatchObject({ running: older, booted: older, boots: newer, startedApart: true });
    const args = "-y --offline --reason 'the new one has no sound'";
    const back = await machine.exec(`MACHINE=/ ${good.command.path}/bin/bento-agent rollback ${args} 2>&1`);
    expect(back.stdout).toMatch(/\nrolled-back: by hand, by root: the new one has no sound\n/);
    expect(await machine.run("readlink -f /nix/var/nix/profiles/system")).toBe(older);
    expect(await machine.run("readlink /boot/default")).toBe(older);
    expect(await status()).toMatchObject({ running: older, boots: older, startedApart: false });
  });

  test("a restart that ends in emergency mode is undone by another one", async () => {
    const module = await evaluate('reboot.lastResort = 1; environment.BENTO_REBOOT_COMMAND = "/root/restart";');
    await install(module);
    await machine.write("/root/restart", '#!/bin/sh\necho "$1" > /root/why\n', 0o755);
    const before = await machine.run("readlink -f /nix/var/nix/profiles/system");
    const kernel = 'boot.kernelVersion = "7.0"; networking.hostName';
    await machine.write("/etc/nixos/configuration.nix", configuration(module).replace("networking.hostName", kernel));
    await machine.run(`export MACHINE=/ NIX_PATH=nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos
      nix-build '<nixpkgs/nixos>' -A system -I nixos-config=/etc/nixos/configuration.nix --out-link /root/other
      systemctl stop bento-upgrade.timer; until ! systemctl is-active bento-upgrade.service | grep -q activating; do sleep 0.1; done
      ${module.command.path}/bin/bento-agent rollback -y --offline --to /root/other || true`);
    const other = await machine.run("readlink /root/other");
    expect(await machine.run("readlink /boot/default")).toBe(other);
    const wants = "/etc/systemd/system/emergency.target.wants";
    await machine.run(`mkdir -p ${wants}; ln -s ../bento-emergency.service ${wants}/; ${NO_FILE_SYSTEM}`);
    await machine.powerOff();
    const from = machine.logged;
    await machine.boot(`ln -s ${other} /run/current-system; ln -s ${other} /run/booted-system`);
    await machine.says(/^inconclusive: after a restart: the machine went into emergency mode, /, from);
    await machine.run("until [ -e /root/why ]; do sleep 0.1; done");
    expect(await machine.run("cat /root/why")).toContain(`restarted into ${before}, the last resort`);
    expect(await machine.run("readlink /boot/default")).toBe(before);
  });
});
