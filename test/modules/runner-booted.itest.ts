import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test } from "vitest";
import { makeCacheKey } from "../../src/nix/cache-key.ts";
import { shellWord } from "../../src/platform/shell-word.ts";
import type { CheckDocument } from "../../src/results.ts";
import { succeed } from "../support/programs.ts";
import { missing, type RunnerMachine } from "../support/runner-machine.ts";
import { hostOf, RunnerWorld } from "./runner-world.ts";

const needs = missing.length > 0 ? ` (needs ${missing.join(", ")})` : "";

/**
 * utils/runner.nix on a machine that systemd has booted: units, users, directories and nix.conf are what NixOS makes of it, Nix builds
 * in its sandbox for a daemon's users, and jobs run under the very units of services.github-runners, with all their hardening. What
 * isn't there is GitHub, which here hands a job over HTTP to whatever asks for one.
 */
describe.skipIf(needs !== "")(`a runner's machine${needs}`, () => {
  let world: RunnerWorld;
  let runner: RunnerMachine;

  beforeAll(async () => {
    world = await RunnerWorld.make();
    ({ runner } = world);
  }, 300_000);
  afterAll(async () => world?.[Symbol.asyncDispose]());
  beforeEach(() => onTestFailed(() => console.log(runner?.machine.log)));

  const statuses = ({ hosts }: CheckDocument) => hosts.map(({ name, status }) => `${name} ${status}`);
  const remembered = ({ hosts }: CheckDocument) => hosts.map((host) => host.remembered);
  /** How many derivations were built for each. */
  const built = ({ hosts }: CheckDocument) => hosts.map(({ plan }) => plan?.build ?? null);

  test("directories are their users', runners have registered once each, and nginx shows the cache and nothing else", async () => {
    const listing = await runner.machine.run("find /var/lib/bento-runner -printf '%M %u:%g %P\\n' | sort -k3");
    expect(listing.split("\n")).toEqual([
      "drwxr-xr-x root:root ",
      "drwxr-s--- bento-deploy:nginx cache",
      "drwx------ bento-deploy:bento-deploy evaluations",
      "drwxr-xr-x root:root pull-requests",
      "drwxr-x--- bento-runner:bento-runner pull-requests/evaluations",
      "drwx------ bento-runner:bento-runner pull-requests/state",
      "drwx------ bento-deploy:bento-deploy state",
    ]);
    const token = "github_pat_of_the_machine";
    expect(runner.jobs.registrations.sort((a, b) => a.name.localeCompare(b.name))).toEqual([
      { name: "builder", labels: "bento-deploy", group: "fleet-deploy", token, ephemeral: true },
      { name: "builder-pull-requests", labels: "bento", group: "", token, ephemeral: true },
    ]);
    const get = (place: string) =>
      succeed("curl", [
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--path-as-is",
        `http://${world.address}:5000${place}`,
      ]);
    for (const place of ["/", "/../state", "/..%2fstate", "/nix-cache-info"])
      expect(await get(place), place).toMatch(/^4/);
    const settings = await runner.job("bento", "nix --extra-experimental-features nix-command show-config");
    for (const line of [
      "min-free = 10737418240",
      "max-free = 32212254720",
      "sandbox = true",
      "trusted-users = root",
      "secret-key-files = ",
    ]) {
      expect(settings.output.split("\n")).toContain(line);
    }
  });

  test("a pull request's build isn't built again after the merge; what is signed is served, and a host with the public key has it", async () => {
    await world.change("change", "curl");
    const checked = await world.pullRequestBuild();
    expect(statuses(checked.document), checked.log).toEqual([
      "laptop-anna unchanged",
      "laptop-ben unchanged",
      "nas changed",
    ]);
    expect(built(checked.document)[2]).toBeGreaterThan(0);
    expect(checked.document.signedBy).toBeUndefined();
    await world.merge("change");

    const merged = await world.mergedBuild();
    expect(statuses(merged.document), merged.log).toEqual(["laptop-anna ok", "laptop-ben ok", "nas ok"]);
    // Nobody has told this job what the other has evaluated; but the builds are there.
    expect(remembered(merged.document)).toEqual([false, false, false]);
    expect(built(merged.document)[2]).toBe(0);
    expect(hostOf(merged.document, "nas").toplevel).toBe(hostOf(checked.document, "nas").toplevel);
    expect(merged.document.push?.error).toBeNull();
    const systems = merged.document.hosts.map(({ toplevel }) => toplevel);
    const paths = await world.cached();
    expect([...paths.keys()].sort()).toEqual((await world.closure(...systems)).sort());
    expect(new Set([...paths.values()].flat())).toEqual(new Set(["cache-1"]));

    const nas = hostOf(merged.document, "nas").toplevel;
    const fetched = await world.onHost("nas", `nix-store --realise ${nas} && nix-store --verify --check-contents`);
    expect(fetched.status, fetched.stderr).toBe(0);
    expect(fetched.stderr).toContain(`copying path '${nas}' from 'http://${world.address}:5000'`);
    const stranger = await world.onHost(
      "stranger",
      `nix-store --realise ${nas} --option trusted-public-keys ${makeCacheKey("cache-1").publicKey}`,
    );
    expect([stranger.status, stranger.stderr]).toEqual([
      1,
      expect.stringMatching(/not signed by any of the keys|lacks a valid signature/),
    ]);
  }, 300_000);

  test("with a key that both have, the merge evaluates and builds nothing, and pushes what the cache hasn't", async () => {
    const key = { "memory-key": "what all who may push a branch may know" };
    await world.change("remembered", "nginx");
    const checked = await world.pullRequestBuild(key);
    expect(statuses(checked.document), checked.log).toEqual([
      "laptop-anna unchanged",
      "laptop-ben unchanged",
      "nas changed",
    ]);
    await world.merge("remembered");
    const merged = await world.mergedBuild(key);
    expect(statuses(merged.document), merged.log).toEqual(["laptop-anna ok", "laptop-ben ok", "nas ok"]);
    expect(remembered(merged.document)).toEqual([true, true, true]);
    expect(built(merged.document)).toEqual([0, 0, 0]);
    expect(merged.document.push).toMatchObject({ paths: 2, error: null });
    const again = await world.mergedBuild(key);
    expect(remembered(again.document)).toEqual([true, true, true]);
    expect(again.document.push).toMatchObject({ paths: 0, error: null });
  }, 300_000);

  test("a pull request's job sees and changes nothing of the machine's and of the job after a merge, which has a key", async () => {
    const place = "/run/github-runner/bento-deploy";
    const secret = "the key of the cache";
    const holding = runner.job("bento-deploy", `until [ -e go ]; do sleep 0.1; done; rm go; printf %s "$CACHE_KEY"`, {
      CACHE_KEY: secret,
    });
    await runner.machine.run(`until [ -e ${place}/_temp/script.sh ]; do sleep 0.1; done`);
    const pid = await runner.machine.run(`pgrep --newest --full ${place}/_temp/script.sh`);
    const state = "/var/lib/bento-runner";
    const reads = [
      "cat /var/lib/secrets/github-runner",
      "ls /var/lib/secrets",
      ...["bento", "bento-deploy"].map((name) => `cat /var/lib/github-runner/${name}/.current-token`),
      "cat /var/lib/github-runner/bento-deploy/.credentials",
      `cat ${place}/_temp/script.sh`,
      `grep -a CACHE_KEY /proc/${pid}/environ`,
      `ls /proc/${pid}/cwd/`,
      "ls /var/log/github-runner/bento-deploy",
      ...["state", "evaluations", "cache"].map((name) => `ls ${state}/${name}`),
      "cat /etc/shadow",
    ];
    // Root can, so that it is the job that can't.
    for (const read of reads) await runner.machine.run(`{ ${read}; } > /dev/null`);
    const writes = [
      ...["state", "evaluations", "cache", "pull-requests"].flatMap((name) => [
        `touch ${state}/${name}/x`,
        `mv ${state}/${name} ${state}/gone`,
      ]),
      `rm ${state}/cache/nix-cache-info`,
      `touch ${place}/go`,
      `kill -9 ${pid}`,
      ...["/nix/store", "/nix/var/nix/gcroots", "/nix/var/nix/db", "/etc/nix", "/etc/systemd/system"].map(
        (name) => `touch ${name}/x.service`,
      ),
      "unshare --user --map-root-user true",
      "sudo -n true",
    ];
    const attempts = [...reads, ...writes];
    const script = attempts.map((one) => `if { ${one}; } > /dev/null 2>&1; then echo ${shellWord(one)}; fi`).join("\n");
    const tried = await runner.job("bento", `${script}\necho tried; ps --no-headers -eo user | sort -u`);
    expect(tried.output.trim().split("\n")).toEqual(["tried", "bento-runner"]);
    const where = await runner.job(
      "bento",
      "find /dev /etc /nix /run /tmp /var -type d -writable 2> /dev/null | sort || true",
    );
    // What is a job's own, or gone with it. /run/lock is everybody's on a Debian, and root's on NixOS.
    const own =
      /^\/(?:dev\/(?:shm|mqueue)|tmp|var\/tmp|run\/lock|(?:run|var\/lib|var\/log)\/github-runner\/bento(?:\/.*)?)$/;
    const kept = where.output
      .trim()
      .split("\n")
      .filter((name) => !own.test(name));
    expect(kept.filter((name) => !name.startsWith(`${state}/pull-requests/state/`))).toEqual([
      `${state}/pull-requests/evaluations`,
      `${state}/pull-requests/state`,
    ]);
    await runner.machine.run(`touch ${place}/fleet/fleet/go`);
    expect(await holding).toEqual({ status: 0, output: secret });
  }, 300_000);

  test("nothing of a job is there for the next one: no process, no file, no settings in its home", async () => {
    const look = `
      find "$HOME" /tmp /var/tmp /dev/shm "$STATE_DIRECTORY" "$LOGS_DIRECTORY" -name 'left*' | wc -l
      pgrep -cf 'until false' || true`;
    const leave = `
      for place in "$HOME/.config/nix" /tmp /var/tmp /dev/shm "$RUNNER_TEMP" "$GITHUB_WORKSPACE" "$STATE_DIRECTORY" "$LOGS_DIRECTORY"; do
        mkdir -p "$place" && echo left > "$place/left.conf"
      done
      # It won't be asked.
      setsid --fork bash -c 'trap "" INT TERM HUP; until false; do sleep 0.1; done' > /dev/null 2>&1`;
    const before = await runner.job("bento", `${leave}\n${look}`);
    expect(before.output.trim().split("\n")).toEqual(["8", "1"]);
    for (const service of ["bento", "bento-deploy"] as const) {
      // Logs, and that is the runner's own, are there for whoever looks after it.
      const after = await runner.job(service, `rm -f "$LOGS_DIRECTORY"/left.conf\n${look}`);
      expect(after.output.trim().split("\n"), service).toEqual(["0", "0"]);
    }
  }, 300_000);

  test("an evaluation, an output and a derivation that a pull request's job puts in place are neither believed nor signed", async () => {
    const keys = ["what only main has", "what all who may push a branch may know"];
    for (const key of keys) await world.mergedBuild({ "memory-key": key });
    await world.change("poison", "git");
    // Its evaluations say that the nas' system is a laptop's; nothing is built. This job believes itself.
    const evaluated = await world.pullRequestCheck();
    const [nas, anna] = ["nas", "laptop-anna"].map((name) => hostOf(evaluated.document, name));
    const poison = `
      cd "\${BENTO_EVALUATIONS%%:*}"
      sed -i 's|${nas?.drv}|${anna?.drv}|g; s|${nas?.toplevel}|${anna?.toplevel}|g' *.json
      cd "$GITHUB_WORKSPACE"`;
    const poisoned = await world.pullRequestCheck({ before: poison });
    expect(hostOf(poisoned.document, "nas").toplevel).toBe(anna?.toplevel);
    // The most that it could do: entries that have the name that the other job looks for, which has no code for them.
    const evaluations = "/var/lib/bento-runner/evaluations";
    const suffixes = await runner.machine.run(
      `ls ${evaluations} | sed -n 's/^[0-9a-f]*\\(\\.[0-9a-f]*\\.json\\)$/\\1/p' | sort -u`,
    );
    const named = suffixes
      .split("\n")
      .map(
        (suffix) =>
          `for one in ????????????????????????????????????????????????????????????????.json; do cp "$one" "\${one%.json}${suffix}"; done`,
      );

    // An output, where the merge's shall be: by a cache of its own, by an export, and by hand.
    const theirs = nas?.toplevel ?? "";
    const output = `
      cd "$RUNNER_TEMP" && mkdir -p evil/nar made/bin && echo 'echo evil' > made/bin/switch-to-configuration
      nix-store --dump made > evil/nar/evil.nar
      hash=$(nix-hash --type sha256 --flat --base32 evil/nar/evil.nar) size=$(stat -c %s evil/nar/evil.nar)
      printf 'StoreDir: /nix/store\n' > evil/nix-cache-info
      printf '%s\n' 'StorePath: ${theirs}' 'URL: nar/evil.nar' 'Compression: none' "FileHash: sha256:$hash" "FileSize: $size" \\
        "NarHash: sha256:$hash" "NarSize: $size" 'References: ' > evil/$(basename ${theirs} | cut -c1-32).narinfo
      nix-store --generate-binary-cache-key cache-1 key key.pub
      nix() { command nix --extra-experimental-features nix-command "$@"; }
      nix store sign --store "file://$PWD/evil" --key-file key ${theirs}
      trust="--option substituters file://$PWD/evil --option trusted-public-keys $(cat key.pub) --option require-sigs false"
      nix copy --no-check-sigs --from "file://$PWD/evil" ${theirs} && echo copied
      nix-store --realise ${theirs} $trust && echo realised
      { printf '\\1\\0\\0\\0\\0\\0\\0\\0'; cat evil/nar/evil.nar
        printf 'NIXE\\0\\0\\0\\0'; printf "\\\\x$(printf %x ${theirs.length})\\0\\0\\0\\0\\0\\0\\0"; printf %s ${theirs}; head -c $(( (8 - ${theirs.length} % 8) % 8 )) /dev/zero
        printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0'; } | nix-store --import && echo imported
      cp -r made ${theirs} && echo written
      for part in evil/*.narinfo evil/nar; do cp -r $part /var/lib/bento-runner/cache/ && echo cached; done
      nix-store --check-validity ${theirs} && echo valid
      # A derivation of the same name, which it may build.
      nix-store --realise $(nix-instantiate --expr 'derivation { name = "nixos-system-nas-26.05"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo evil > $out" ]; }')`;
    const put = await runner.job("bento", `set +e\ncd "$BENTO_EVALUATIONS"\n${named.join("\n")}\n(${output})`);
    const lines = put.output.trim().split("\n");
    const other = lines.at(-1) ?? "";
    expect(other).toMatch(/-nixos-system-nas-26\.05$/);
    expect(
      lines.filter((line) => /^(?:copied|realised|imported|written|cached|valid)$/.test(line)),
      put.output,
    ).toEqual([]);
    expect(put.output).toMatch(/lacks a (?:valid )?signature/);

    await world.merge("poison");
    for (const inputs of [...keys.map((key) => ({ "memory-key": key })), {}]) {
      const merged = await world.mergedBuild(inputs);
      expect(statuses(merged.document), merged.log).toEqual(["laptop-anna ok", "laptop-ben ok", "nas ok"]);
      expect(hostOf(merged.document, "nas").toplevel).toBe(theirs);
      expect(hostOf(merged.document, "nas").remembered).toBe(false);
    }
    const paths = await world.cached();
    expect(paths.get(theirs)).toEqual(["cache-1"]);
    expect([...paths.keys()]).not.toContain(other);
    const fetched = await world.onHost(
      "nas",
      `nix-store --realise ${theirs} && cat ${theirs}/bin/switch-to-configuration`,
    );
    expect(fetched.status, fetched.stderr).toBe(0);
    expect(fetched.stdout).not.toContain("echo evil");
  }, 300_000);

  test("what nobody needs is removed, by the clock and when space is short, and what was built for hosts stays", async () => {
    const garbage = (name: string) =>
      runner.job(
        "bento",
        `nix-store --realise $(nix-instantiate --expr 'derivation { name = "${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo ${name} > $out" ]; }')`,
      );
    const valid = (storePath: string) => runner.machine.exec(`nix-store --check-validity ${storePath}`);
    const systems = (
      await runner.machine.run("find /var/lib/bento-runner -type l -path '*/roots/*' -printf '%l\\n'")
    ).split("\n");
    expect(systems.length).toBeGreaterThan(3);
    const [byClock = ""] = (await garbage("by-clock")).output.trim().split("\n").slice(-1);
    expect((await valid(byClock)).status).toBe(0);
    expect(runner.units["nix-gc.timer"]).toContain("OnCalendar=weekly");
    await runner.machine.run(
      "systemctl start nix-gc.service; while systemctl is-active --quiet nix-gc.service; do sleep 0.1; done",
    );
    expect((await valid(byClock)).status).toBe(1);

    // As if the disk were as full as that.
    const [whenFull = ""] = (await garbage("when-full")).output.trim().split("\n").slice(-1);
    await runner.machine.run(
      "sed -i 's/^min-free = .*/min-free = 100000000000000/; s/^max-free = .*/max-free = 100000000000000/' /etc/nix/nix.conf; systemctl restart nix-daemon.service",
    );
    await garbage("another");
    await runner.machine.run(`while nix-store --check-validity ${whenFull} 2> /dev/null; do sleep 0.1; done`);
    for (const system of systems) expect((await valid(system)).status, system).toBe(0);
  }, 300_000);
});
