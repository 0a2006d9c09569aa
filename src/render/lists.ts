/** The small documents: what a command made, in a few lines for a terminal. */
import type {
  FileResult,
  HostEditDocument,
  HostListDocument,
  InitDocument,
  KeygenDocument,
  PlanDocument,
  RenderDocument,
} from "../results.ts";
import { type Paint, table, warnings } from "./terminal.ts";

export function renderFiles(files: readonly FileResult[], paint: Paint): string[] {
  return files.map(({ file, status }) =>
    status === "written" ? `${paint("green", "✓")} ${file}` : paint("dim", `· ${file} is as it was`),
  );
}

export function renderPlan(document: PlanDocument, paint: Paint): string {
  const rows = [
    ...document.shards.map(({ shard, hosts }) => [`shard ${shard}`, hosts.join(", ")]),
    ...document.waves.map(({ wave, hosts }) => [`wave ${wave}`, hosts.join(", ")]),
  ];
  return table([["PART", "HOSTS"].map((text) => paint("dim", text)), ...rows]).join("\n");
}

export function renderRender(document: RenderDocument, paint: Paint): string {
  return renderFiles(document.files, paint).join("\n");
}

export function renderInit(document: InitDocument, paint: Paint): string {
  return [
    `A fleet in ${document.fleet}`,
    ...renderFiles(document.files, paint),
    "",
    "Next:",
    ...document.next.map((step) => `  ${step}`),
  ].join("\n");
}

export function renderKeygen(document: KeygenDocument): string {
  const key = (name: string) => document.keys.find((candidate) => candidate.name === name);
  const cache = key("cache");
  if (cache !== undefined) {
    return [
      `${cache.file}: the cache's signing key. Keep it secret; in CI it is a secret of the job that builds what is merged`,
      "",
      "Its public half goes into fleet.yaml, where the cache is:",
      `  substituters, an entry:  { url: "https://…", key: "${cache.publicKey}" }`,
    ].join("\n");
  }
  return [
    ...document.keys.map(
      ({ name, file }) => `${file}: the ${name} key. Keep it secret; in CI it is a secret of the deploy job`,
    ),
    "",
    "Their public halves go into fleet.yaml (bento init --keys puts them there):",
    `  signers, an entry:            "${key("signing")?.publicKey}"`,
    `  server.publishers, an entry:  "${key("publisher")?.publicKey}"`,
  ].join("\n");
}

export function renderHostList(document: HostListDocument, paint: Paint): string {
  const rows = document.hosts.map((host) => [
    host.name,
    host.kind,
    host.path,
    host.groups.join(","),
    host.status === "found"
      ? paint("yellow", "no entry in fleet.yaml")
      : host.key === null
        ? paint("yellow", "no key yet")
        : "",
  ]);
  const heading = ["HOST", "KIND", "PATH", "GROUPS", ""].map((text) => paint("dim", text));
  return table([heading, ...rows]).join("\n");
}

export function renderHostEdit(document: HostEditDocument, paint: Paint): string {
  return [
    ...document.hosts.map(({ name, status }) => `${paint("green", "✓")} ${status} ${name}`),
    ...renderFiles(document.files, paint),
    ...warnings(document.warnings, paint),
  ].join("\n");
}
