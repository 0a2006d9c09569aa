import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import net, { type AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Browser } from "../support/browser.ts";
import { Hold } from "../support/hold.ts";
import { Listener } from "../support/listener.ts";
import type { Machine } from "../support/machine.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
let machine: Machine;
let agent: Listener;
let page: Listener;
let port: number;
beforeAll(async () => {
  world = await World.make({ hosts: ["desk"] });
  machine = await world.machine("desk");
  port = await freePort();
  const socket = machine.path("agent.sock");
  agent = await Listener.start(machine, [socket], ["serve", "3-1234-0"]);
  const settings = { BENTO_SOCKET: socket, BENTO_PAGE_PORT: String(port) };
  page = await Listener.start(machine, [`127.0.0.1:${port}`, `[::1]:${port}`], ["page"], settings);
});
afterAll(async () => {
  await page?.[Symbol.asyncDispose]();
  await agent?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  page.log.length = 0;
});

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The answer to a request as it goes over the wire, `PORT` in it replaced. */
async function ask(...lines: string[]): Promise<string> {
  const connection = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  connection.write(lines.map((line) => `${line.replaceAll("PORT", String(port))}\r\n`).join(""));
  // Of one that is too long the rest is not read, and the connection is cut.
  return text(connection)
    .catch(() => "")
    .finally(() => connection.destroy());
}

/** Another one for each attempt, whatever becomes of it. */
const attemptMark = () => readFile(machine.path("run/bento/attempt"), "utf8");

test("the button starts an upgrade, whose output comes line by line", async () => {
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  const subject = "a <b>change</b> & more";
  const { manifest } = await world.publish("desk", channelHost("desk", 'environment.etc."a" = "1";'), {
    manifest: { subject },
  });
  await using browser = await Browser.launch();
  const tab = await browser.open(`http://localhost:${port}/`);
  await tab.waitFor(`document.getElementById("host").textContent === "desk"`);
  expect(await tab.text("state")).toBe("No upgrade yet.");

  await tab.click("upgrade");
  await hold.reached();
  await tab.waitFor(`document.getElementById("output").textContent.includes("activating ${manifest.toplevel}")`);
  const before = await tab.text("output");
  expect(before).toContain(`release ${manifest.sequence}: ${subject}\n`);
  expect(before).not.toContain("success");
  expect(await tab.text("result")).toBe("");
  expect(await tab.text("upgrade")).toBe("Upgrading …");
  // A second page sees that one is running.
  const other = await browser.open(`http://[::1]:${port}/`);
  await other.waitFor(`document.getElementById("state").textContent === "An upgrade is running."`);
  await hold.letGo();
  await tab.waitFor(`document.getElementById("result").textContent === "Done."`);
  expect(await tab.text("output")).toMatch(/ confirmation 1 of 1\n(.*\n)?\S+ success\n$/);
  await tab.waitFor(`document.getElementById("state").textContent === "The last upgrade is done."`);
  expect(await tab.text("facts")).toContain(manifest.toplevel);
  expect(await machine.running()).toBe(manifest.toplevel);
  if (process.env.BENTO_TEST_SCREENSHOTS) {
    await tab.screenshot(`${process.env.BENTO_TEST_SCREENSHOTS}/light.png`, "light");
    await tab.screenshot(`${process.env.BENTO_TEST_SCREENSHOTS}/dark.png`, "dark");
  }

  // With the keyboard alone; and the focus stays where it was.
  await tab.go(`http://localhost:${port}/`);
  await tab.press("Tab");
  expect(await tab.evaluate("document.activeElement.id")).toBe("upgrade");
  await tab.press("Enter");
  await tab.waitFor(`document.getElementById("result").textContent === "Up to date: there was nothing to do."`);
  expect(await tab.text("output")).toMatch(/^\S+ up to date with release \d+\n$/);
  expect(await tab.evaluate("document.activeElement.id")).toBe("upgrade");
});

test("only what is done is green", async () => {
  await using browser = await Browser.launch();
  const tab = await browser.open(`http://localhost:${port}/`);
  const shot = async (name: string) => {
    const places = process.env.BENTO_TEST_SCREENSHOTS;
    if (places) await tab.screenshot(`${places}/${name}.png`, "light");
  };
  /** What the button leads to, and how that looks. */
  const result = async (): Promise<unknown> => {
    await tab.click("upgrade");
    await tab.waitFor(`document.getElementById("result").textContent !== ""`);
    return tab.evaluate(
      `(({ className, textContent }) => [className, textContent])(document.getElementById("result"))`,
    );
  };
  await machine.agent({}, ["suspend", "--for", "3d"]);
  expect(await result()).toEqual(["wait", "Nothing was done: upgrades are suspended."]);
  await shot("suspended");
  await machine.agent({}, ["resume"]);

  const { manifest } = await world.publish("desk", channelHost("desk", "nonsense"), { evaluate: false });
  expect(await result()).toEqual(["bad", "It did not succeed; the last lines say why."]);
  const waiting = "Nothing was done: the release failed before, and is tried again later.";
  expect(await result()).toEqual(["wait", waiting]);
  expect(await tab.text("facts")).toContain(`release ${manifest.sequence} failed before, and is tried again in`);
  await shot("waiting");

  await machine.healthCheck("hold", "false");
  await world.publish("desk", channelHost("desk", 'environment.etc."a" = "bad";'));
  expect((await machine.agent({ BENTO_CONFIRM_TIMEOUT: "2" })).status).toBe(1);
  const bad = "Nothing was done: the release is known to be bad here, and is not tried again.";
  expect(await result()).toEqual(["bad", bad]);
  expect(await tab.text("state")).toBe("The last upgrade was undone.");
  await shot("bad");
  await machine.healthCheck("hold", "true");

  await world.server.stop();
  expect(await result()).toEqual(["wait", "Not now: try again later."]);
  await world.server.start();
});

test("a page of another origin starts nothing, and sees nothing", async () => {
  const before = await attemptMark();
  await world.publish("desk", channelHost("desk", 'environment.etc."a" = "2";'));
  // Whatever a page can send: with and without leave, forms, images, frames.
  const evil = `<!doctype html><title>evil</title><iframe name="frame"></iframe>
    <form id="form" method="post" action="http://localhost:${port}/upgrade" target="frame"></form>
    <iframe src="http://localhost:${port}/"></iframe>
    <script>
      const there = "http://localhost:${port}";
      const tries = [
        () => fetch(there + "/upgrade", { method: "POST", headers: { "X-Bento": "upgrade" } }),
        () => fetch(there + "/upgrade", { method: "POST", mode: "no-cors", headers: { "X-Bento": "upgrade" } }),
        () => fetch(there + "/upgrade", { method: "POST", mode: "no-cors", body: "X-Bento: upgrade" }),
        () => fetch(there + "/status"),
        () => fetch(there + "/status", { mode: "no-cors" }).then((response) => response.text()),
      ];
      window.attack = async () => {
        document.getElementById("form").submit();
        navigator.sendBeacon(there + "/upgrade", "x");
        return Promise.all(tries.map((one) => one().then((it) => (it.ok ? "got it" : it || "nothing"), () => "failed")));
      };
    </script>`;
  const server = createServer((_, response) => response.setHeader("Content-Type", "text/html").end(evil));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port: there } = server.address() as AddressInfo;
    await using browser = await Browser.launch([`--host-resolver-rules=MAP *.example 127.0.0.1`]);
    for (const origin of [`http://evil.example:${there}`, `http://localhost:${there}`]) {
      const tab = await browser.open(`${origin}/`);
      const got = await tab.evaluate("window.attack()");
      expect(got, origin).toEqual(["failed", "failed", "failed", "failed", "failed"].map(() => expect.anything()));
      expect(got).not.toContain("got it");
    }
    // A name of the attacker's that points here.
    const rebound = await browser.open(`http://evil.example:${port}/`);
    expect(await rebound.evaluate("document.body.textContent")).toContain("this is not the host");
    const upgrade = `fetch("/upgrade", { method: "POST", headers: { "X-Bento": "upgrade" } }).then(() => "sent", () => "blocked")`;
    expect(await rebound.evaluate(upgrade)).toBe("blocked");
  } finally {
    server.close();
  }
  expect(page.log.filter((line) => line.startsWith("refused (403)")).length).toBeGreaterThan(5);
  expect(await attemptMark()).toBe(before);
});

test("what isn't a request of the page's is refused, and what is too long or too slow is ended", async () => {
  const slow = ask("GET / HTTP/1.1", "Host: localhost:PORT");
  const host = "Host: localhost:PORT";
  const refused = async (status: number, ...lines: string[]) =>
    expect(await ask(...lines), lines.join("\n").slice(0, 200)).toMatch(new RegExp(`^(HTTP/1.1 ${status} |$)`));
  await refused(421, "GET / HTTP/1.1", "Host: evil.example", "");
  await refused(421, "GET / HTTP/1.1", "Host: localhost", "");
  await refused(421, "GET / HTTP/1.1", "Host: localhost:PORT.evil.example", "");
  await refused(421, "GET / HTTP/1.0", "");
  await refused(400, "GET / HTTP/1.1", host, "Host: evil.example", "");
  await refused(403, "GET / HTTP/1.1", host, "Origin: http://localhost:1", "");
  await refused(403, "GET /status HTTP/1.1", host, "Origin: null", "");
  await refused(403, "GET /status HTTP/1.1", host, "origin:http://127.0.0.1:PORT", "");
  await refused(403, "GET / HTTP/1.1", host, "Sec-Fetch-Site: cross-site", "");
  await refused(403, "GET / HTTP/1.1", host, "Sec-Fetch-Site: same-site", "");
  await refused(403, "POST /upgrade HTTP/1.1", host, "Content-Length: 0", "");
  await refused(403, "POST /upgrade HTTP/1.1", host, "X-Bento: yes", "");
  await refused(413, "POST /upgrade HTTP/1.1", host, "X-Bento: upgrade", "Content-Length: 1000000", "");
  await refused(400, "POST /upgrade HTTP/1.1", host, "X-Bento: upgrade", "Transfer-Encoding: chunked", "");
  await refused(405, "GET /upgrade HTTP/1.1", host, "X-Bento: upgrade", "");
  await refused(405, "OPTIONS /upgrade HTTP/1.1", host, "");
  await refused(405, "POST / HTTP/1.1", host, "");
  await refused(404, "GET /../../etc/passwd HTTP/1.1", host, "");
  await refused(404, "GET /* HTTP/1.1", host, "");
  await refused(400, "GET /", host, "");
  await refused(400, "\u0016\u0003\u0001 TLS", "");
  await refused(400, "GET / HTTP/1.1", host, "no header", "");
  await refused(431, `GET /${"x".repeat(20_000)} HTTP/1.1`, host, "");
  await refused(431, "GET / HTTP/1.1", host, ...Array.from({ length: 200 }, (_, index) => `X-${index}: y`), "");

  const good = await ask("GET / HTTP/1.1", "Host: 127.0.0.1:PORT", "Sec-Fetch-Site: none", "");
  expect(good).toMatch(/^HTTP\/1\.1 200 /);
  const [, nonce] = /script-src 'nonce-([^']+)'/.exec(good) ?? [];
  expect(nonce).toHaveLength(24);
  expect(good).toContain(`<script nonce="${nonce}">`);
  expect(good).toContain("default-src 'none'");
  expect(good).not.toMatch(/NONCE|https?:\/\//);
  const status = await ask("GET /status HTTP/1.1", "Host: [::1]:PORT", "Origin: http://[::1]:PORT", "");
  expect(JSON.parse(status.slice(status.indexOf("\r\n\r\n")))).toMatchObject({ version: 1, host: "desk" });

  // One that never ends its headers.
  expect(await slow).toMatch(/^HTTP\/1\.1 408 /);
});
