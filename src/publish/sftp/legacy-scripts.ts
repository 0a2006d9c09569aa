import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Server } from "../../fleet/fleet.ts";
import { loginOf } from "../../fleet/fleet.ts";
import { packageRoot } from "../../platform/package.ts";
import type { Manifest } from "../../release/manifest.ts";
import type { PlainEntry } from "../../tree/plain.ts";

/** What a host of the 2022 Bento runs, beside its tree: scripts that do what the old ones did. */
export async function legacyScripts(
  server: Server,
  { host, kind, attr, sequence }: Pick<Manifest, "host" | "kind" | "attr" | "sequence">,
): Promise<PlainEntry[]> {
  const settings: Record<string, string> = {
    address: server.address,
    port: String(server.port),
    login: loginOf({ name: host }, server),
    kind,
    attr,
    sequence: String(sequence),
    // Without comments, which are people's.
    hostKeys: server.hostKeys.map((key) => key.split(" ").slice(0, 2).join(" ")).join("\n"),
  };
  const [update, bootstrap] = await Promise.all([template("update.sh"), template("bootstrap.sh")]);
  const filled = bootstrap.replace(/@([a-zA-Z]+)@/g, (whole, name: string) => {
    const value = settings[name];
    return value === undefined ? whole : quoted(value);
  });
  return [script("update.sh", update), script("bootstrap.sh", filled)];
}

function template(name: string): Promise<string> {
  return readFile(path.join(packageRoot(), "utils/server/legacy", name), "utf8");
}

function script(path: string, text: string): PlainEntry {
  return { kind: "file", path, executable: true, contents: Buffer.from(text) };
}

/** One word for a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
