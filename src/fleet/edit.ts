import { readFile } from "node:fs/promises";
import path from "node:path";
import { isMap, parseDocument } from "yaml";
import { FleetError } from "../errors.ts";
import { writeFileAtomically } from "../platform/files.ts";
import { FLEET_FILE, parseFleetFile } from "./parse.ts";

/** What `host add` may write into fleet.yaml; the defaults are left out. */
export interface NewHost {
  key?: string;
  path?: string;
  groups?: readonly string[];
  ssh?: string;
}

/** Text in, text out: fleet.yaml with one more host, its comments and order as they were. */
export function withHost(text: string, name: string, host: NewHost): string {
  const document = parseDocument(text, { stringKeys: true });
  if (document.hasIn(["hosts", name])) {
    throw new FleetError(`there is a host '${name}' already`, { at: { file: FLEET_FILE } });
  }
  if (!isMap(document.get("hosts"))) document.set("hosts", document.createNode({}));
  const hosts = document.get("hosts");
  // `hosts: {}`, as bento init writes it, would make one line of them all.
  if (isMap(hosts) && hosts.items.length === 0) hosts.flow = false;
  const { key, path: place, groups, ssh } = host;
  document.setIn(
    ["hosts", name],
    document.createNode({
      ...(key === undefined ? {} : { key }),
      ...(place === undefined ? {} : { path: place }),
      ...(groups === undefined || groups.length === 0 ? {} : { groups }),
      ...(ssh === undefined ? {} : { ssh }),
    }),
  );
  return serialise(document);
}

export function withoutHost(text: string, name: string): string {
  const document = parseDocument(text, { stringKeys: true });
  if (!document.hasIn(["hosts", name])) throw new FleetError(`there is no host '${name}' in ${FLEET_FILE}`);
  document.deleteIn(["hosts", name]);
  return serialise(document);
}

/** Applies `edit` to the fleet's fleet.yaml. Nothing is written unless the result is a fleet.yaml without mistakes. */
export async function editFleetFile(dir: string, edit: (text: string) => string): Promise<void> {
  const file = path.join(dir, FLEET_FILE);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new FleetError(`there is no ${FLEET_FILE} in ${dir}`, { hint: "bento init makes one", cause });
  }
  parseFleetFile(text);
  const edited = edit(text);
  parseFleetFile(edited);
  await writeFileAtomically(file, edited);
}

function serialise(document: ReturnType<typeof parseDocument>): string {
  // Public keys are longer than the width at which yaml would fold them.
  return document.toString({ lineWidth: 0, flowCollectionPadding: true });
}
