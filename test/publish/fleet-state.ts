import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import type { Upload } from "../../src/publish/publisher.ts";
import { open as openEnvelope, sealer } from "../../src/release/envelope.ts";
import { openPrivateKey } from "../../src/release/keys.ts";
import type { Manifest } from "../../src/release/manifest.ts";
import { archivesOf, nextManifest } from "../../src/release/plan.ts";
import type { World } from "../support/world.ts";

/** What one deploy publishes: signed releases, whose archives are bytes that nobody unpacks. */
export class Deploys {
  readonly #world: World;
  readonly #manifests = new Map<string, Manifest>();
  readonly #verified = new Map<string, Manifest>();
  #count = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /**
   * The next release of each host, with archives of these sizes. Of two hosts with the same size the second gets the first
   * one's archive, and a host with `null` the archive that it has already.
   */
  async next(sizes: Readonly<Record<string, number | null>>): Promise<Upload[]> {
    this.#count += 1;
    const manifests: Manifest[] = [];
    const archives: NonNullable<Upload["archive"]>[] = [];
    const bySize = new Map<number, Buffer>();
    const dir = path.join(this.#world.dir, "archives");
    await mkdir(dir, { recursive: true });
    for (const [host, size] of Object.entries(sizes)) {
      const before = this.#manifests.get(host) ?? null;
      const known = size === null ? before?.archive?.name : undefined;
      const bytes =
        known === undefined ? (bySize.get(size ?? 1) ?? randomBytes(size ?? 1)) : await readFile(path.join(dir, known));
      bySize.set(bytes.length, bytes);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const name = `${sha256}.nar.gz`;
      const file = path.join(dir, name);
      await writeFile(file, bytes);
      const digest = `sha256-${createHash("sha256").update(String(this.#count)).digest("base64")}`;
      const candidate = {
        host,
        commit: this.#count.toString(16).padStart(40, "0"),
        subject: `deploy ${this.#count}`,
        digest,
        archive: { name, size: bytes.length, sha256 },
        kind: "channel",
        attr: "configuration.nix",
        toplevel: null,
      } as const;
      const manifest = nextManifest(candidate, before, Date.now());
      this.#manifests.set(host, manifest);
      manifests.push(manifest);
      archives.push({ name, size: bytes.length, file });
    }
    await using key = await openPrivateKey({ file: this.#world.signingKey.file }, "the signing key");
    const seal = await sealer(key);
    const envelopes = await Promise.all(manifests.map(seal));
    return manifests.map((manifest, index) => ({
      host: manifest.host,
      envelope: envelopes[index] ?? "",
      archive: archives[index] ?? null,
      keep: archivesOf(manifest),
    }));
  }

  /** What a host is given now, after a look at all that a host looks at. */
  async given(host: string): Promise<Manifest> {
    const dir = path.join(this.#world.server.chroot(host), "releases");
    const text = await readFile(path.join(dir, "current"), "utf8");
    const manifest = this.#verified.get(text) ?? (await this.#open(host, text));
    this.#verified.set(text, manifest);
    const { archive } = manifest;
    if (archive === null) throw new Error("it has no archive");
    const bytes = await readFile(path.join(dir, archive.name));
    expect(bytes.length).toBe(archive.size);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(archive.sha256);
    return manifest;
  }

  async #open(host: string, text: string): Promise<Manifest> {
    const opened = await openEnvelope(text, host, [this.#world.signingKey.publicKey]);
    if (!opened.ok) throw new Error(opened.problem);
    return opened.manifest;
  }
}

/** That nothing is on the server but what is published: no temporary file, no lock, nothing beside the lock. */
export async function expectTidy(world: World, hosts: readonly string[]): Promise<void> {
  expect(await readdir(path.join(world.server.root, ".bento"))).toEqual([]);
  for (const host of hosts) {
    const names = await readdir(path.join(world.server.chroot(host), "releases"));
    expect(names.filter((name) => !/^(?:current|\d+\.json|[0-9a-f]{64}\.nar\.gz)$/.test(name))).toEqual([]);
  }
}

/** As if nobody had come by for long. */
export async function timeToLivePasses(world: World): Promise<void> {
  const dir = path.join(world.server.root, ".bento");
  const anHourAgo = Date.now() / 1000 - 3600;
  for (const name of await readdir(dir)) await utimes(path.join(dir, name), anHourAgo, anHourAgo);
}
