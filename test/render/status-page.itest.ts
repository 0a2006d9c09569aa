import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { embed, statusPage } from "../../src/render/status-page.ts";
import { FLEET_STATES, type HostAttempt, type HostStatus } from "../../src/results.ts";
import { Browser, type Page } from "../support/browser.ts";
import { HOSTILE, reported, status } from "./documents.ts";

const TIME = "2026-11-23T12:00:00.000Z";
let browser: Browser;
let dir: string;
beforeAll(async () => {
  browser = await Browser.launch();
  dir = await mkdtemp(path.join(tmpdir(), "bento-page-"));
});
afterAll(async () => {
  await browser?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const ago = (minutes: number) => new Date(Date.parse(TIME) - minutes * 60_000).toISOString();
const system = (host: string, letter: string) => `/nix/store/${letter.repeat(32)}-nixos-system-${host}-26.05`;

function attempt(name: string, minutes: number, changes: Partial<HostAttempt> = {}): HostAttempt {
  return {
    sequence: 1795430400000 - minutes,
    commit: "4f1c2d9a7b30",
    subject: "Move the blog to the new machine",
    outcome: "success",
    reason: null,
    from: system(name, "a"),
    to: system(name, "b"),
    started: ago(minutes + 2),
    finished: ago(minutes),
    duration: 94,
    received: ago(minutes),
    ...changes,
  };
}

function host(name: string, changes: Partial<HostStatus> = {}): HostStatus {
  return reported(name, {
    published: {
      sequence: 1795430400000,
      commit: "4f1c2d9a7b300123456789abcdef0123456789ab",
      subject: "Move the blog to the new machine",
      toplevel: system(name, "b"),
      issued: ago(90),
    },
    running: { toplevel: system(name, "b"), sequence: 1795430400000 },
    lastContact: ago(4),
    lastOutcome: "success",
    agent: "0.1.0",
    history: [attempt(name, 80), attempt(name, 3000, { subject: "nixpkgs: 2026-11-19" })],
    log: "building\nactivating\nconfirmation 3 of 3\nsuccess\n",
    ...changes,
  });
}

const few = () => [
  host("router", { wave: 1, groups: ["canary"] }),
  host("nas", {
    wave: 2,
    state: "rolled-back",
    sync: "rolled-back",
    reason:
      "no contact with the server after 3 tries: ssh: connect to host fleet.example.org port 22: No route to host",
    history: [
      attempt("nas", 60, { outcome: "rolled-back", reason: "no contact with the server", to: system("nas", "a") }),
    ],
  }),
  host("laptop-anna", {
    wave: 2,
    state: "silent",
    health: "silent",
    reason: "not heard of for 3 days",
    lastContact: ago(4400),
  }),
];

const many = () =>
  Array.from({ length: 1000 }, (_, n) => {
    const name = `host-${String(n).padStart(4, "0")}`;
    const state =
      n % 97 === 0
        ? (FLEET_STATES[(n / 97) % FLEET_STATES.length] ?? "failed")
        : n % 7 === 0
          ? "pending"
          : "up-to-date";
    return host(name, { state, wave: n < 20 ? 1 : n < 300 ? 2 : 3, groups: [n % 2 ? "web" : "db"] });
  });

async function open(name: string, hosts: HostStatus[], hash = ""): Promise<Page> {
  const file = path.join(dir, `${name}.html`);
  await writeFile(file, statusPage(status(hosts, { time: TIME }), "fleet"));
  const page = await browser.open(`${pathToFileURL(file)}${hash}`);
  await page.waitFor("document.body.dataset.ready === 'true'");
  return page;
}

const names = (page: Page) =>
  page.evaluate(`[...document.querySelectorAll(".name button")].map((one) => one.textContent)`);
const chip = (page: Page, state: string) => page.evaluate(`document.querySelector("[data-state=${state}]").click()`);

test("the fleet, worst first; filtered by state and by words, and sorted", async () => {
  const page = await open("few", few());
  expect(await names(page)).toEqual(["nas", "laptop-anna", "router"]);
  expect(await page.text("shown")).toBe("3");
  expect(await page.text("waves")).toContain("Wave 2");
  expect(await page.text("waves")).toContain("1 of 1 done");
  await chip(page, "silent");
  expect(await names(page)).toEqual(["laptop-anna"]);
  expect(await page.text("shown")).toBe("1 of 3");
  await chip(page, "silent");
  const search = (text: string) =>
    page.evaluate(
      `{ const box = document.getElementById("search"); box.value = ${JSON.stringify(text)}; box.dispatchEvent(new Event("input")); }`,
    );
  await search("CANARY up");
  expect(await names(page)).toEqual(["router"]);
  await search("nothing like that");
  expect(await page.evaluate(`document.getElementById("none").hidden`)).toBe(false);
  await search("");
  const sort = (key: string) => page.evaluate(`document.querySelector("[data-key=${key}]").click()`);
  await sort("name");
  expect(await names(page)).toEqual(["laptop-anna", "nas", "router"]);
  await sort("name");
  expect(await names(page)).toEqual(["router", "nas", "laptop-anna"]);
  expect(await page.evaluate(`document.querySelector("[data-key=name]").parentElement.getAttribute("aria-sort")`)).toBe(
    "descending",
  );
  // What is shown is in the address.
  const again = await open("few", few(), "#open=nas&key=name");
  expect(await names(again)).toEqual(["laptop-anna", "nas", "router"]);
  expect(await again.text("details-nas")).toContain("no contact with the server");
});

test("with the keyboard alone: a host's history and log, and the focus stays where it was", async () => {
  const page = await open("keys", few());
  const focus = () => page.evaluate(`document.activeElement.textContent.trim() || document.activeElement.id`);
  let steps = 0;
  while ((await focus()) !== "nas" && steps++ < 30) await page.press("Tab");
  await page.press("Enter");
  expect(await focus()).toBe("nas");
  expect(await page.evaluate(`document.activeElement.getAttribute("aria-expanded")`)).toBe("true");
  const shown = await page.text("details-nas");
  for (const text of ["rolled back", "4f1c2d9a7b30", "confirmation 3 of 3", "1 min"]) expect(shown).toContain(text);
  await page.press("Enter");
  expect(await page.evaluate(`document.getElementById("details-nas")`)).toBeNull();
});

test("to a screen reader it is a table with headings, also on a phone, and every button has a name", async () => {
  const page = await open("tree", few(), "#open=nas");
  await page.resize(390, 844, true);
  const roles = await page.roles();
  for (const role of ["heading", "table", "columnheader", "rowheader", "cell", "searchbox", "group", "status"]) {
    expect(
      roles.map((one) => one.role),
      role,
    ).toContain(role);
  }
  expect(roles.filter(({ role, name }) => role === "button" && name === "")).toEqual([]);
  expect(roles).toContainEqual({ role: "rowheader", name: "nas" });
  // Nothing sticks out of a phone's page.
  expect(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).toBe(true);
});

test.each([
  ["light", 1280],
  ["dark", 1280],
  ["light", 360],
  ["dark", 360],
] as const)("nothing keeps anybody out, as far as axe can tell: %s, %d wide", async (scheme, width) => {
  for (const [name, hosts] of [
    ["few", few()],
    ["every-state", FLEET_STATES.map((state) => host(state, { state }))],
  ] as const) {
    const page = await open(name, hosts, "#open=nas");
    await page.prefer(scheme);
    await page.resize(width, 800, width < 400);
    expect(await page.barriers()).toEqual([]);
    expect(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).toBe(true);
    await page.evaluate(`document.documentElement.removeAttribute("lang")`);
    expect((await page.barriers()).map(({ rule }) => rule)).toEqual(["html-has-lang"]);
  }
});

test("whatever a host says is text: no markup, no script, no request", async () => {
  const bad = [...HOSTILE, "</script><script>window.pwned = 1</script>", "<!--<script>", "\u2028window.pwned=1", "]]>"];
  const hosts = bad.map((text, n) =>
    host(`h${n}`, {
      reason: text,
      agent: text,
      log: text,
      groups: [text],
      running: { toplevel: text, sequence: null },
      history: [attempt("h", 1, { reason: text, subject: text, commit: text, from: text, to: text, received: text })],
    }),
  );
  for (const n of bad.keys()) {
    const page = await open("hostile", hosts, `#open=h${n}&search=%3Cimg src=x onerror=window.pwned=1>`);
    expect(await page.evaluate("window.pwned")).toBeUndefined();
    const shown = await open("hostile", hosts, `#open=h${n}`);
    expect(await shown.evaluate("window.pwned")).toBeUndefined();
    expect(
      await shown.evaluate(`document.querySelectorAll("img, a[href]:not(.skip), iframe, script:not([type])").length`),
    ).toBe(1);
    expect(await shown.evaluate(`document.querySelector("#details-h${n} pre").textContent`)).toBe(bad[n]);
    if (n % 8 === 0) expect(await shown.evaluate(`performance.getEntriesByType("resource").length`)).toBe(0);
  }
}, 120_000);

test("no script of somebody else's would run, and nothing be asked of the network", async () => {
  const page = await open("policy", few());
  const tried = `(async () => {
    const script = document.createElement("script");
    script.textContent = "window.pwned = 1";
    document.body.append(script);
    const blocked = await fetch("https://example.org/").then(() => "asked", () => "blocked");
    return [window.pwned === undefined, blocked];
  })()`;
  expect(await page.evaluate(tried)).toEqual([true, "blocked"]);
  const text = statusPage(status(few()), "fleet");
  expect(text).not.toMatch(/\b(?:src|href)="(?!data:|#)|@import|url\(/);
});

test("what is embedded is the same JSON, and no end of a script", () => {
  const data = { a: "</script><!--", b: "\u2028\u2029&amp;", c: ["<"] };
  expect(JSON.parse(embed(data))).toEqual(data);
  expect(embed(data)).not.toMatch(/[<>&\u2028\u2029]/);
});

test("an old page says that it is old", async () => {
  const page = await open("old", few());
  expect(await page.text("stale")).toMatch(/^This page was made \d+ .* ago: it may be otherwise by now\.$/);
});

test("a thousand hosts", async () => {
  const page = await open("many", many());
  expect(((await names(page)) as string[]).length).toBe(1000);
  expect(await page.text("chips")).toMatch(/pending\d+/);
  await chip(page, "pending");
  expect(((await names(page)) as string[]).length).toBeGreaterThan(100);
});

// BENTO_TEST_SCREENSHOTS=DIRECTORY keeps what a person would see.
test.runIf(process.env.BENTO_TEST_SCREENSHOTS)("pictures", async () => {
  for (const [name, hosts, hash] of [
    ["few", few(), "#open=nas"],
    ["many", many(), ""],
  ] as const) {
    const page = await open(name, hosts, hash);
    for (const scheme of ["light", "dark"] as const) {
      await page.resize(1280, 800);
      await page.screenshot(`${process.env.BENTO_TEST_SCREENSHOTS}/${name}-desktop-${scheme}.png`, scheme);
      await page.resize(390, 844, true);
      await page.screenshot(`${process.env.BENTO_TEST_SCREENSHOTS}/${name}-phone-${scheme}.png`, scheme);
    }
  }
});
