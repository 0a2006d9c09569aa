import { code, page } from "./markdown.ts";

/** An option as lib.optionAttrSetToDocList has it; texts as Nix or markdown. */
export interface ModuleOption {
  name: string;
  description: string;
  type: string;
  readOnly: boolean;
  default: string | null;
  example: string | null;
}

/** docs/reference/options.md */
export function optionsReference(
  modules: readonly { file: string; intro: string; options: readonly ModuleOption[] }[],
): string {
  return page(
    "Module options",
    modules.map(({ file }) => file).join(", "),
    "What hosts, servers and runners on NixOS set.",
    ...modules.flatMap(({ file, intro, options }) => [`## ${file}`, intro, ...options.map(section)]),
  );
}

function section({ name, description, type, readOnly, default: preset, example }: ModuleOption): string {
  const facts = [
    `*${type}*`,
    ...(readOnly ? ["read-only"] : preset === null ? ["required"] : [`default ${value(preset)}`]),
    ...(example === null ? [] : [`example ${value(example)}`]),
  ];
  return `### ${code(name)}\n\n${facts.join(", ")}\n\n${description.trim()}`;
}

function value(text: string): string {
  return code(text.replace(/\s+/g, " ").trim());
}
