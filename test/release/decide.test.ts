import fc from "fast-check";
import { expect, test } from "vitest";
import type { Manifest } from "../../src/release/manifest.ts";
import { type Candidate, decide, type Published } from "../../src/release/plan.ts";
import { hex, manifest, nameOf } from "./manifest.ts";

const NOW = Date.parse("2026-11-24T00:00:00.000Z");
const OTHER = `sha256-${"B".repeat(43)}=`;

function candidate(more: Partial<Manifest> = {}): Candidate {
  const { host, commit, subject, digest, archive, kind, attr, toplevel } = manifest(more);
  return { host, commit, subject, digest, archive, kind, attr, toplevel };
}

/** A release that is published; its envelope's text says which. */
const present = (more: Partial<Manifest> = {}): Published => {
  const made = manifest({ sequence: NOW - 1000, ...more });
  return { state: "present", manifest: made, envelope: `envelope ${made.sequence} ${made.digest}` };
};
const missing: Published = { state: "missing" };
const unknown: Published = { state: "unknown", error: { message: "no answer" } };
const untrusted: Published = { state: "untrusted", problem: "it is not signed" };

function decided(sftp: Published, git: Published, more: Partial<Parameters<typeof decide>[0]> = {}) {
  const published = new Map([
    ["sftp", sftp],
    ["git", git],
  ]);
  return decide({ candidate: candidate(), published, ancestryOf: () => null, force: false, now: NOW, ...more });
}

test("unchanged is what every publisher has", () => {
  expect(decided(present(), present())).toEqual({ kind: "unchanged", manifest: manifest({ sequence: NOW - 1000 }) });
});

test("what one has already, the other gets as it is: the very same envelope", () => {
  for (const lacking of [
    missing,
    present({ sequence: NOW - 2000, digest: OTHER }),
    present({ sequence: NOW - 2000 }),
  ]) {
    const decision = decided(lacking, present());
    expect(decision).toMatchObject({ kind: "complete", to: ["sftp"] });
    expect(decision).toHaveProperty("envelope", `envelope ${NOW - 1000} ${manifest().digest}`);
  }
});

test("an archive that isn't the one of the envelope makes a new release for all", () => {
  const archive = { name: nameOf("2"), size: 1, sha256: hex("2") };
  const decision = decided(missing, present(), { candidate: candidate({ archive }) });
  expect(decision).toMatchObject({ kind: "release", to: ["sftp", "git"] });
});

test("a new release follows the newest of any publisher", () => {
  const far = present({
    sequence: NOW + 5000,
    digest: OTHER,
    archive: { name: nameOf("3"), size: 1, sha256: hex("3") },
  });
  const near = present({ digest: OTHER, archive: { name: nameOf("4"), size: 1, sha256: hex("4") } });
  for (const decision of [decided(far, near), decided(near, far)]) {
    expect(decision).toMatchObject({ kind: "release", to: ["sftp", "git"], manifest: { sequence: NOW + 5001 } });
    // Either's archives may still be wanted.
    expect(decision.kind === "release" && decision.manifest.history).toEqual([nameOf("3"), nameOf("4")]);
  }
});

test("the current release at one, and a newer one of something else at the other: a new one for both", () => {
  const decision = decided(present(), present({ sequence: NOW + 7, digest: OTHER }));
  expect(decision).toMatchObject({ kind: "release", to: ["sftp", "git"], manifest: { sequence: NOW + 8 } });
});

test("a publisher whose state isn't known gets nothing, and stops nothing", () => {
  expect(decided(unknown, present())).toMatchObject({ kind: "unchanged" });
  expect(decided(unknown, missing)).toMatchObject({ kind: "release", to: ["git"] });
});

test("whatever is refused at one is refused", () => {
  const problem = { message: "not an ancestor" };
  const stale = present({ sequence: NOW - 5000, digest: OTHER, commit: "c".repeat(40) });
  const ancestryOf = (commit: string) => (commit.startsWith("c") ? problem : null);
  expect(decided(present(), stale, { ancestryOf })).toEqual({ kind: "refuse", error: problem });
  expect(decided(stale, missing, { ancestryOf })).toEqual({ kind: "refuse", error: problem });
  expect(decided(present(), untrusted)).toMatchObject({ kind: "refuse" });
  const future = present({ sequence: NOW + 400 * 24 * 3600 * 1000, digest: OTHER });
  expect(decided(missing, future)).toMatchObject({ kind: "refuse" });
});

test("--force makes a new release whatever there is, after everything that is known", () => {
  const decision = decided(present({ sequence: NOW + 9 }), untrusted, { force: true });
  expect(decision).toMatchObject({ kind: "release", to: ["sftp", "git"], manifest: { sequence: NOW + 10 } });
});

test("whatever the publishers have: a second deploy of the same finds nothing to do, and no sequence ever falls", () => {
  const state: fc.Arbitrary<Published> = fc.oneof(
    fc.constant(missing),
    fc
      .record({ sequence: fc.integer({ min: NOW - 3, max: NOW + 3 }), same: fc.boolean() })
      .map(({ sequence, same }) => present(same ? { sequence } : { sequence, digest: OTHER })),
  );
  fc.assert(
    fc.property(state, state, state, (...states) => {
      const published = new Map(states.map((one, index) => [String(index), one]));
      const decision = decide({ candidate: candidate(), published, ancestryOf: () => null, force: false, now: NOW });
      if (decision.kind === "refuse") throw new Error("nothing is wrong");
      if (decision.kind !== "unchanged") {
        const envelope = decision.kind === "complete" ? decision.envelope : "new";
        for (const name of decision.to) {
          const before = published.get(name);
          if (before?.state === "present") expect(decision.manifest.sequence).toBeGreaterThan(before.manifest.sequence);
          published.set(name, { state: "present", manifest: decision.manifest, envelope });
        }
      }
      const again = decide({ candidate: candidate(), published, ancestryOf: () => null, force: false, now: NOW });
      expect(again.kind).toBe("unchanged");
      expect(
        new Set([...published.values()].map((one) => one.state === "present" && one.envelope)).size,
      ).toBeLessThanOrEqual(decision.kind === "unchanged" ? 3 : 1);
    }),
  );
});

test("what a publisher has beside the release, and isn't the release's, makes a new release", () => {
  const { manifest: made, envelope } = present() as Extract<Published, { state: "present" }>;
  const incomplete: Published = { state: "present", manifest: made, envelope, isIncomplete: true };
  expect(decided(incomplete, present())).toMatchObject({ kind: "release", to: ["sftp", "git"] });
  expect(decided(incomplete, missing)).toMatchObject({ kind: "release" });
});
