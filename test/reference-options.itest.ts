import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { type ModuleOption, optionsReference } from "../scripts/reference/options.ts";
import { packageRoot } from "../src/platform/package.ts";
import { succeed } from "./support/programs.ts";

// docs/reference/options.md, made from the modules themselves with the lib of a current nixpkgs, whose words for types it has.
const lib = process.env.BENTO_TEST_NIXPKGS_LIB ?? "";
const MODULES = [
  { file: "utils/bento.nix", intro: "A host of the fleet." },
  { file: "utils/fleet.nix", intro: "The fleet's server." },
  { file: "utils/runner.nix", intro: "The machine that builds the fleet's systems, and its binary cache." },
];

test.skipIf(lib === "")(
  `docs/reference/options.md says which options there are${lib ? "" : " (needs BENTO_TEST_NIXPKGS_LIB)"}`,
  async () => {
    const root = packageRoot();
    const modules = await Promise.all(
      MODULES.map(async ({ file, intro }) => ({ file, intro, options: await optionsOf(path.join(root, file)) })),
    );
    const text = optionsReference(modules);
    const page = path.join(root, "docs/reference/options.md");
    if (process.env.BENTO_UPDATE) await writeFile(page, text);
    expect(await readFile(page, "utf8")).toBe(text);
  },
);

async function optionsOf(module: string): Promise<ModuleOption[]> {
  const evaluate = path.join(packageRoot(), "test/fixtures/modules/eval.nix");
  const expression = `(import ${evaluate} { lib = ${lib}; modules = [ ${module} ]; }).documented`;
  const options = JSON.parse(
    await succeed("nix-instantiate", ["--eval", "--strict", "--json", "--expr", expression]),
  ) as ModuleOption[];
  return options.sort((one, other) => (one.name < other.name ? -1 : 1));
}
