import { expect, test } from "vitest";
import { renderMetrics } from "../../src/render/metrics.ts";
import { FLEET_STATES } from "../../src/results.ts";
import { HOSTILE, reported, status } from "./documents.ts";

const published = {
  sequence: 1,
  commit: "0123456789abcdef0123456789abcdef01234567",
  subject: "A change",
  toplevel: null,
  issued: "2026-11-23T11:00:00.000Z",
};

/** The samples of a text in Prometheus' format. Throws for what its grammar doesn't have. */
function parse(text: string): { name: string; labels: Record<string, string>; value: number }[] {
  expect(text).toMatch(/\n$/);
  const samples = [];
  const typed = new Set<string>();
  let family = "";
  for (const line of text.trimEnd().split("\n")) {
    const [, help] = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (?:[^\\]|\\\\|\\n)*$/.exec(line) ?? [];
    const [, type] = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) gauge$/.exec(line) ?? [];
    if (help !== undefined) {
      if (typed.has(help)) throw new Error(`${help} is there twice`);
      family = help;
    } else if (type !== undefined) {
      expect(type).toBe(family);
      typed.add(type);
    } else {
      const [, name, labels, value] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?)$/s.exec(line) ?? [];
      if (name !== family || value === undefined) throw new Error(`no sample of ${family}: ${line}`);
      const found: Record<string, string> = {};
      let rest = labels ?? "";
      while (rest !== "") {
        const [whole, label, text] = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/.exec(rest) ?? [];
        if (whole === undefined || label === undefined) throw new Error(`no labels: ${rest}`);
        found[label] = (text ?? "").replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter));
        rest = rest.slice(whole.length);
      }
      samples.push({ name, labels: found, value: Number(value) });
    }
  }
  const series = samples.map(({ name, labels }) => JSON.stringify([name, labels]));
  expect(new Set(series).size).toBe(series.length);
  return samples;
}

test("states, times and what is published, in Prometheus' grammar", () => {
  const hosts = [
    reported("nas", { published, lastContact: "2026-11-23T11:59:00.500Z", wave: 2, agent: "0.1.0" }),
    reported("router", { state: "failed", sync: "failed", health: "ok" }),
  ];
  const samples = parse(renderMetrics(status(hosts)));
  const value = (name: string, labels: object = {}) =>
    samples.find((one) => one.name === name && Object.entries(labels).every(([key, is]) => one.labels[key] === is))
      ?.value;
  expect(value("bento_status_timestamp_seconds")).toBe(Date.parse("2026-11-23T12:00:00.000Z") / 1000);
  for (const state of FLEET_STATES) {
    expect(value("bento_hosts", { state })).toBe(["failed", "up-to-date"].includes(state) ? 1 : 0);
  }
  expect(value("bento_host_state", { host: "router", state: "failed", sync: "failed", health: "ok" })).toBe(1);
  expect(value("bento_host_needs_attention", { host: "router" })).toBe(1);
  expect(value("bento_host_needs_attention", { host: "nas" })).toBe(0);
  expect(value("bento_host_last_contact_timestamp_seconds", { host: "nas" })).toBe(1795435140.5);
  expect(value("bento_host_last_contact_timestamp_seconds", { host: "router" })).toBeUndefined();
  expect(value("bento_host_info", { host: "nas", wave: "2", commit: published.commit, agent: "0.1.0" })).toBe(1);
});

test.each([...HOSTILE, 'a"} 1\nbento_hosts{state="failed"} 7', "\\", '\\"', "\ud800"])(
  "%j is a label's value, and no more",
  (text) => {
    const samples = parse(renderMetrics(status([reported("nas", { agent: text })])));
    expect(samples.find(({ name }) => name === "bento_host_info")?.labels.agent).toBe(text.toWellFormed());
  },
);
