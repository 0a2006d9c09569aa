import { chmod, chown, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { NotificationServer } from "../support/notification-server.ts";
import { kill, type Running, start } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

/** Who is logged in: nobody, with a session bus of their own. Only the list of sessions is not the real one here. */
const NOBODY = 65_534;
const SESSIONS: Record<string, string> = {
  c1: `User=${NOBODY}\nType=wayland\nClass=user\nState=active`,
  7: `User=${NOBODY}\nType=x11\nClass=user\nState=online`,
  8: `User=${NOBODY}\nType=tty\nClass=user\nState=active`,
  c2: "User=1\nType=wayland\nClass=greeter\nState=active",
};

let world: World;
let machine: Machine;
let env: Record<string, string>;
let bus: Running;
let desktop: NotificationServer;
beforeAll(async () => {
  world = await World.make({ hosts: ["desk"] });
  machine = await world.machine("desk");
  const runtime = machine.path("runtime");
  await mkdir(runtime);
  await chown(runtime, NOBODY, NOBODY);
  // As every session's, but that root may listen in.
  await writeFile(
    machine.path("bus.conf"),
    `<busconfig><type>session</type><listen>unix:path=${runtime}/bus</listen><auth>EXTERNAL</auth>
      <policy context="default">
        <allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
      </policy></busconfig>`,
  );
  const who = ["--reuid", `${NOBODY}`, "--regid", `${NOBODY}`, "--clear-groups"];
  const daemon = ["dbus-daemon", `--config-file=${machine.path("bus.conf")}`, "--nofork", "--print-address"];
  bus = start("setpriv", [...who, ...daemon], { env: machine.env });
  await new Promise((resolve) => bus.child.stdout?.once("data", resolve));
  desktop = await NotificationServer.start(`${runtime}/bus`);

  const bin = machine.path("bin");
  await mkdir(bin, { recursive: true });
  for (const [name, text] of Object.entries(SESSIONS)) await writeFile(path.join(bin, `session-${name}`), `${text}\n`);
  const loginctl = `#!/bin/sh
    case $1 in
      list-sessions) echo ' c1 1000 alice seat0'; echo '  7 1000 alice'; echo '  8 1000 alice'; echo ' c2 1 gdm seat0' ;;
      show-session) cat ${bin}/session-$2 ;;
      show-user) echo ${runtime} ;;
    esac\n`;
  await writeFile(path.join(bin, "loginctl"), loginctl, { mode: 0o755 });
  const send = `#!/bin/sh\nid -un >> ${runtime}/who\nexec notify-send "$@"\n`;
  await writeFile(path.join(bin, "send"), send, { mode: 0o755 });
  env = { PATH: `${bin}:${process.env.PATH}`, BENTO_NOTIFY_SEND: path.join(bin, "send") };
});
afterAll(async () => {
  desktop?.stop();
  if (bus) kill([bus.pid]);
  await world?.[Symbol.asyncDispose]();
});

long("who sits at the machine is told once what became of an upgrade, as their own user", async () => {
  await world.publish("desk", channelHost("desk", 'boot.kernelVersion = "7.0";'), {
    manifest: { subject: "the <b>big</b> & long-awaited Änderung" },
  });
  expect((await machine.agent(env)).status).toBe(0);
  expect(desktop.shown).toEqual([
    {
      app: "Bento",
      summary: "This machine was upgraded",
      body: "the &lt;b&gt;big&lt;/b&gt; &amp; long-awaited Änderung\nA restart is needed.",
      urgency: 1,
    },
  ]);
  expect(await readFile(machine.path("runtime/who"), "utf8")).toBe("nobody\n");

  // Nothing new, and nothing changed: nothing to tell.
  expect((await machine.agent(env)).status).toBe(0);
  await world.publish("desk", channelHost("desk", 'boot.kernelVersion = "7.0"; # the same'));
  expect((await machine.agent(env)).status).toBe(0);

  await world.publish("desk", channelHost("desk", "{"), { evaluate: false });
  expect((await machine.agent(env)).status).toBe(1);
  expect(desktop.shown.slice(1)).toEqual([
    {
      app: "Bento",
      summary: "An upgrade of this machine failed",
      body: expect.stringMatching(/^it does not build: error: [^<&]*\nA restart is needed\.$/),
      urgency: 2,
    },
  ]);

  // Nobody there who shows it.
  desktop.stop();
  await world.publish("desk", channelHost("desk", "}"), { evaluate: false });
  const { stderr } = await machine.agent(env);
  expect(stderr).toMatch(/\nfailed: it does not build: .*\n$/);
});

test("a command of the administrator's gets it all, and can't spoil the upgrade", async () => {
  const out = machine.path("said");
  const command = machine.path("notify");
  const script = `#!/bin/sh\n{ env | grep ^BENTO_ | sort; cat; } > ${out}; echo no such room; exit 3\n`;
  await writeFile(command, script);
  await chmod(command, 0o755);
  const { manifest } = await world.publish("desk", channelHost("desk", 'environment.etc."a" = "1";'));
  const before = await machine.running();
  const { status, stderr } = await machine.agent({ BENTO_NOTIFY_COMMAND: command });
  expect(stderr).toMatch(/\nsuccess\n\S+\/notify failed: no such room\n$/);
  expect(status).toBe(0);
  const said = await readFile(out, "utf8");
  for (const line of [
    "BENTO_HOST=desk",
    "BENTO_OUTCOME=success",
    "BENTO_REASON=",
    `BENTO_SEQUENCE=${manifest.sequence}`,
    `BENTO_COMMIT=${manifest.commit}`,
    `BENTO_SUBJECT=${manifest.subject}`,
    `BENTO_FROM=${before}`,
    `BENTO_TO=${manifest.toplevel}`,
    "BENTO_REBOOT_NEEDED=0",
  ]) {
    expect(said.split("\n")).toContain(line);
  }
  expect(JSON.parse(said.slice(said.indexOf("{")))).toMatchObject({ outcome: "success", to: manifest.toplevel });
});
