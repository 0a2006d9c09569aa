import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FleetError } from "../../src/errors.ts";
import { editFleetFile, withHost, withoutHost } from "../../src/fleet/edit.ts";
import { parseFleetFile } from "../../src/fleet/parse.ts";
import { scratch } from "../platform/scratch.ts";
import { ED25519_1, ED25519_2, ED25519_3 } from "./keys.ts";

const FLEET = `# The fleet of the lab.

server:
  address: fleet.example.org # moved in May
  hostKeys: [ "${ED25519_1}" ]

# Who may sign.
signers:
  - "${ED25519_2} ci"

hosts:
  # The way out.
  router:
    key: "${ED25519_3} root@router"
    groups: [ canary ]

  # In the cellar.
  nas:
    ssh: 'root@10.0.0.2' # no key yet
`;

test("a new host comes last, and all else stays letter by letter", () => {
  expect(withHost(FLEET, "web", { key: `${ED25519_1} root@web`, groups: ["a", "b"], ssh: "root@web" })).toBe(
    `${FLEET}  web:
    key: ${ED25519_1} root@web
    groups:
      - a
      - b
    ssh: root@web
`,
  );
});

test("the first host after bento init has lines of its own", () => {
  expect(withHost("hosts: {}\n", "web", { ssh: "root@web" })).toBe("hosts:\n  web:\n    ssh: root@web\n");
});

test("a removed host goes with what was said about it, and all else stays letter by letter", () => {
  const without = withoutHost(withHost(FLEET, "web", {}), "web");
  expect(without).toBe(FLEET);
  expect(withoutHost(FLEET, "nas")).toBe(FLEET.slice(0, FLEET.indexOf("\n  # In the cellar.")));
});

test("a host about which there is nothing to say", () => {
  expect(Object.keys(parseFleetFile(withHost(FLEET, "web", {})).content.hosts)).toEqual(["router", "nas", "web"]);
});

test.each([
  ["an empty file", ""],
  ["comments alone", "# to do\n"],
  ["no hosts yet", "hosts:\n"],
  ["an empty set", "hosts: {}\n"],
  ["another key", "signers: []\n"],
])("the first host of all: %s", (_, text) => {
  const edited = withHost(text, "web", { path: "machines/web" });
  expect(parseFleetFile(edited).content.hosts).toMatchObject({ web: { path: "machines/web" } });
  if (text.startsWith("#")) expect(edited).toContain("# to do");
});

test("the last host of all", () => {
  expect(parseFleetFile(withoutHost("hosts:\n  web:\n", "web")).content.hosts).toEqual({});
});

test("one that is there already, and one that isn't there", () => {
  expect(() => withHost(FLEET, "nas", {})).toThrow("there is a host 'nas' already");
  expect(() => withoutHost(FLEET, "web")).toThrow("there is no host 'web' in fleet.yaml");
  expect(() => withoutHost("", "web")).toThrow(FleetError);
  expect(() => withoutHost("hosts:\n", "web")).toThrow(FleetError);
});

test("any host can be added and removed again, also one whose name YAML takes for something else", () => {
  const name = fc.oneof(
    fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,12}$/),
    fc.constantFrom("1", "007", "1e3", "0x10", "true", "null", "no", "on", "constructor", "2026-11-24"),
  );
  fc.assert(
    fc.property(name, (host) => {
      if (["nas", "router"].includes(host)) return;
      const added = withHost(FLEET, host, { groups: ["new"] });
      expect(parseFleetFile(added).content.hosts[host]).toMatchObject({ groups: ["new"] });
      expect(() => withHost(added, host, {})).toThrow("already");
      expect(withoutHost(added, host)).toBe(FLEET);
    }),
    { numRuns: 60 },
  );
});

test("a host's own name that YAML takes for a number can be removed", () => {
  expect(Object.keys(parseFleetFile(withoutHost("hosts:\n  1:\n  007:\n  web:\n", "1")).content.hosts)).toEqual([
    "007",
    "web",
  ]);
  expect(() => withHost("hosts:\n  1:\n", "1", {})).toThrow("there is a host '1' already");
});

test("no comment gets lost, wherever it stands", () => {
  const text = "# a\nhosts: # b\n  # c\n  web: # d\n    # e\n    ssh: x # f\n    # g\n# h\n";
  const edited = withHost(text, "nas", {});
  for (const letter of "abcdefgh") expect(edited).toContain(`# ${letter}`);
});

test("long keys and comments aren't folded", () => {
  const long = `${ED25519_1} ${"a comment of many words ".repeat(10).trim()}`;
  const text = `hosts:\n  web:\n    key: "${long}"\n    # ${"x ".repeat(100)}x\n    groups: [ a ]\n`;
  expect(withoutHost(withHost(text, "nas", { key: long }), "nas")).toBe(text);
});

test("the file is written only when the result is a fleet without mistakes", async () => {
  await using dir = await scratch();
  const file = path.join(dir.path, "fleet.yaml");
  await writeFile(file, FLEET);
  await expect(editFleetFile(dir.path, (text) => withHost(text, "Web", {}))).rejects.toThrow(
    "hosts.Web must be a host name",
  );
  expect(await readFile(file, "utf8")).toBe(FLEET);
  await editFleetFile(dir.path, (text) => withHost(text, "web", {}));
  expect(await readFile(file, "utf8")).toBe(`${FLEET}  web: {}\n`);
});

test("a fleet.yaml that is wrong already is not edited, and one that isn't there is not made", async () => {
  await using dir = await scratch();
  const file = path.join(dir.path, "fleet.yaml");
  const missing = await editFleetFile(dir.path, () => "").catch((error: FleetError) => error);
  expect(missing).toMatchObject({ message: `there is no fleet.yaml in ${dir.path}`, hint: "bento init makes one" });
  await writeFile(file, "host:\n  web:\n");
  await expect(editFleetFile(dir.path, (text) => withHost(text, "web", {}))).rejects.toThrow("did you mean 'hosts'?");
  expect(await readFile(file, "utf8")).toBe("host:\n  web:\n");
});
