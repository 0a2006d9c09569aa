import { expect, test } from "vitest";
import { archiveName, manifestSchema, sri, storePath } from "../../src/release/manifest.ts";
import { hex, manifest, nameOf } from "./manifest.ts";

const isValid = (value: unknown) => manifestSchema.safeParse(value).success;

test("the design's manifest, and one that has neither archive nor system", () => {
  expect(manifestSchema.parse(manifest({ history: [nameOf("2")] }))).toEqual(manifest({ history: [nameOf("2")] }));
  expect(
    isValid(manifest({ archive: null, toplevel: null, kind: "flake", attr: "web.example.org", subject: "" })),
  ).toBe(true);
});

test.each<[string, Record<string, unknown>]>([
  ["another version", { version: 2 }],
  ["a host without a name", { host: "" }],
  ["a sequence that is no number", { sequence: "1795430400000" }],
  ["a sequence in parts", { sequence: 1.5 }],
  ["a sequence before the first", { sequence: 0 }],
  ["a sequence that numbers can't tell from the next", { sequence: 2 ** 53 }],
  ["a date for people", { issued: "23 Nov 2026" }],
  ["a commit that is abbreviated", { commit: "abcdef0" }],
  ["a commit that is an option", { commit: "--force" }],
  ["another hash", { digest: `sha512-${"A".repeat(86)}==` }],
  ["a digest in hex", { digest: `sha256-${hex("a")}` }],
  ["an archive in another directory", { archive: { name: `../${nameOf("1")}`, size: 1, sha256: hex("1") } }],
  ["an archive of no size", { archive: { name: nameOf("1"), size: 0, sha256: hex("1") } }],
  ["an archive with more to say", { archive: { name: nameOf("1"), size: 1, sha256: hex("1"), url: "x" } }],
  ["another kind", { kind: "hybrid" }],
  ["no attribute", { attr: "" }],
  ["a system that is no store path", { toplevel: "/etc/passwd" }],
  ["a system that leaves the store", { toplevel: `/nix/store/${"0".repeat(32)}-a/../../x` }],
  ["history of anything", { history: ["current"] }],
  ["a key that isn't known", { extra: 1 }],
])("not a manifest: %s", (_, change) => {
  expect(isValid({ ...manifest(), ...change })).toBe(false);
});

test("not a manifest: any field missing", () => {
  for (const field of Object.keys(manifest())) {
    const { [field as "host"]: _, ...rest } = manifest();
    expect([field, isValid(rest)]).toEqual([field, false]);
  }
});

test.each(["/nix/store", "/data/nix/store", "/var/lib/x.y/nix/store"])("a store path in %s", (store) => {
  expect(storePath.safeParse(`${store}/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-26.05+1?=_`).success).toBe(
    true,
  );
});

test.each([
  "nix/store/0123456789abcdfghijklmnpqrsvwxyz-a",
  "/0123456789abcdfghijklmnpqrsvwxyz-a",
  "/nix/store/0123456789abcdefghijklmnpqrsvwxy-a",
  "/nix/store/0123456789abcdfghijklmnpqrsvwxyz",
  "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-",
  "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a b",
  "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a\n",
  "/nix//store/0123456789abcdfghijklmnpqrsvwxyz-a",
  "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a/bin",
])("no store path: %j", (text) => {
  expect(storePath.safeParse(text).success).toBe(false);
});

test("names and hashes are exact, to the last letter", () => {
  expect(archiveName.safeParse(nameOf("a")).success).toBe(true);
  for (const text of [`${nameOf("a")}\n`, nameOf("A"), `x${nameOf("a")}`, hex("a"), `${nameOf("a")}.tmp`]) {
    expect([text, archiveName.safeParse(text).success]).toEqual([text, false]);
  }
  expect(sri.safeParse(`sha256-${"A".repeat(43)}=\n`).success).toBe(false);
});
