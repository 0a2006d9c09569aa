import fc from "fast-check";
import { expect, test } from "vitest";
import { type Manifest, manifestSchema } from "../../src/release/manifest.ts";
import { archivesOf, type Candidate, isFarFuture, isSameRelease, nextManifest } from "../../src/release/plan.ts";
import { archiveName, hex, manifest, nameOf } from "./manifest.ts";

const NOW = Date.parse("2026-11-24T00:00:00.000Z");

function candidate(more: Partial<Manifest> = {}): Candidate {
  const { host, commit, subject, digest, archive, kind, attr, toplevel } = manifest(more);
  return { host, commit, subject, digest, archive, kind, attr, toplevel };
}

const archiveOf = (digit: string) => ({ name: nameOf(digit), size: 1, sha256: hex(digit) });

test("the first release of a host: the time as its sequence, and no history", () => {
  const next = nextManifest(candidate(), null, NOW);
  expect(next).toEqual(manifest({ sequence: NOW, issued: "2026-11-24T00:00:00.000Z" }));
  expect(manifestSchema.parse(next)).toEqual(next);
});

test("the sequence rises, also when the clock is behind or two come in one millisecond", () => {
  for (const last of [NOW - 1000, NOW, NOW + 1000]) {
    const next = nextManifest(candidate(), manifest({ sequence: last }), NOW);
    expect(next.sequence).toBe(Math.max(NOW, last + 1));
    expect(next.issued).toBe("2026-11-24T00:00:00.000Z");
  }
});

test("the archive before goes to the head of the history, and five are kept in all", () => {
  const published = manifest({ archive: archiveOf("2"), history: ["3", "4", "5", "6"].map(nameOf) });
  const next = nextManifest(candidate(), published, NOW);
  expect(next.history).toEqual(["2", "3", "4", "5"].map(nameOf));
  expect(archivesOf(next)).toEqual(["1", "2", "3", "4", "5"].map(nameOf));
});

test("releasing old content again takes it out of the history", () => {
  const published = manifest({ archive: archiveOf("2"), history: ["1", "3"].map(nameOf) });
  expect(nextManifest(candidate(), published, NOW).history).toEqual(["2", "3"].map(nameOf));
});

test("doubles in a history that another program wrote go", () => {
  const published = manifest({ archive: archiveOf("2"), history: ["3", "2", "3", "4"].map(nameOf) });
  expect(nextManifest(candidate(), published, NOW).history).toEqual(["2", "3", "4"].map(nameOf));
});

test("the same archive with another system is no history of itself", () => {
  const other = candidate({ toplevel: `/nix/store/${"1".repeat(32)}-other` });
  expect(nextManifest(other, manifest({ history: [nameOf("3")] }), NOW).history).toEqual([nameOf("3")]);
});

test("a release without an archive keeps those that are there", () => {
  const next = nextManifest(candidate({ archive: null }), manifest({ history: [nameOf("3")] }), NOW);
  expect(archivesOf(next)).toEqual(["1", "3"].map(nameOf));
  expect(nextManifest(candidate(), next, NOW).history).toEqual([nameOf("3")]);
});

test("over any course of releases: sequences rise, histories are short, without doubles, and never empty of the last", () => {
  const step = fc.record({ archive: fc.option(archiveName), now: fc.integer({ min: NOW - 5, max: NOW + 5 }) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
      let published: Manifest | null = null;
      for (const { archive, now } of steps) {
        const made = candidate({
          archive: archive === null ? null : { name: archive, size: 1, sha256: archive.slice(0, 64) },
        });
        const next: Manifest = nextManifest(made, published, now);
        expect(manifestSchema.safeParse(next).success).toBe(true);
        expect(next.sequence).toBeGreaterThan(published?.sequence ?? 0);
        expect(archivesOf(next).length).toBeLessThanOrEqual(5);
        expect(new Set(archivesOf(next)).size).toBe(archivesOf(next).length);
        if (published?.archive) expect(archivesOf(next)).toContain(published.archive.name);
        published = next;
      }
    }),
  );
});

test("what makes another release: digest, system, kind and attribute; and what doesn't", () => {
  const published = manifest();
  const same: Partial<Manifest>[] = [
    {},
    { commit: "b".repeat(40), subject: "another" },
    // Compressors differ between versions.
    { archive: archiveOf("2") },
    { archive: null },
  ];
  for (const more of same) expect([more, isSameRelease(published, candidate(more))]).toEqual([more, true]);
  const other: Partial<Manifest>[] = [
    { digest: `sha256-${"B".repeat(43)}=` },
    { toplevel: null },
    { toplevel: `/nix/store/${"1".repeat(32)}-other` },
    { kind: "flake" },
    { attr: "other.nix" },
  ];
  for (const more of other) expect([more, isSameRelease(published, candidate(more))]).toEqual([more, false]);
});

test("a sequence of more than a year ahead is no accident", () => {
  const days = (count: number) => NOW + count * 24 * 3600 * 1000;
  expect(isFarFuture(manifest({ sequence: days(365) }), NOW)).toBe(false);
  expect(isFarFuture(manifest({ sequence: days(367) }), NOW)).toBe(true);
});
