import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../src/platform/package.ts";

// Which folder of src/ may use which: data goes one way, from the fleet to trees, evaluations, releases and publishers.
// The files directly in src/ that are no front, and results/, are words that all may use: errors, results, durations, inert text.

const FRONTS = ["action.ts", "cli.ts", "main.ts"];
const MAY: Record<string, readonly string[]> = {
  platform: [],
  secrets: ["platform"],
  fleet: ["secrets", "platform"],
  tree: ["fleet", "platform"],
  release: ["platform"],
  nix: ["tree", "fleet", "release", "platform"],
  reports: ["publish", "release", "fleet"],
  publish: ["release", "tree", "fleet", "platform"],
  /** Hosts, over ssh. */
  reach: ["reports", "fleet", "platform"],
  workflows: [],
  completion: [],
  render: ["reports", "nix", "platform"],
  commands: [
    "completion",
    "reach",
    "workflows",
    "render",
    "publish",
    "reports",
    "release",
    "nix",
    "tree",
    "fleet",
    "secrets",
    "platform",
  ],
  /** The inputs of the Action, and what it tells GitHub. */
  action: ["commands", "render", "fleet", "platform"],
  /** The options of the command line: what they mean for the commands, and how a command's document is shown. */
  cli: ["completion", "commands", "render", "fleet", "platform"],
};
/** Who speaks to what isn't ours: nobody else knows that it is there. */
const ADAPTERS: Record<string, RegExp> = {
  "@actions/core": /^platform\/actions\.ts$/,
  "@actions/exec": /^platform\/process\.ts$/,
  "simple-git": /^platform\/git(?:-run)?\.ts$/,
  ssh2: /^(?:publish\/sftp\/|release\/signature\.ts)/,
  "ssh2-sftp-client": /^publish\/sftp\/session\.ts$/,
  yaml: /^(?:fleet\/|workflows\/workflow\.ts)/,
  commander: /^(?:cli\.ts|cli\/|main\.ts|completion\/model\.ts)/,
};

const src = path.join(packageRoot(), "src");

interface Import {
  file: string;
  from: string;
}

async function imports(): Promise<Import[]> {
  const files = (await readdir(src, { recursive: true })).filter(
    (name) => /\.ts$/.test(name) && !name.endsWith(".d.ts"),
  );
  const found = files.map(async (file) => {
    const text = await readFile(path.join(src, file), "utf8");
    return [...text.matchAll(/^(?:import|export)\b[^"';]*?"([^"]+)"/gms)].map(([, from = ""]) => ({ file, from }));
  });
  return (await Promise.all(found)).flat();
}

/** The first folder of a path below src/; a file directly in it is itself. */
function layerOf(file: string): string {
  return file.split("/")[0] ?? "";
}

function isForAll(file: string): boolean {
  return layerOf(file) === "results" || (layerOf(file) === file && !FRONTS.includes(file));
}

function problems(all: readonly Import[]): string[] {
  return all.flatMap(({ file, from }) => {
    const layer = layerOf(file);
    if (!from.startsWith(".")) {
      const adapter = ADAPTERS[from];
      return adapter === undefined || adapter.test(file)
        ? []
        : [`src/${file} uses ${from}: that is for ${adapter.source}`];
    }
    const target = path.posix.join(path.posix.dirname(file), from);
    // Text that is bundled is no code.
    if (target.startsWith("../") || !target.endsWith(".ts")) return [];
    const other = layerOf(target);
    if (other === layer || isForAll(target)) return [];
    if (isForAll(file)) return [`src/${file} uses src/${target}: it is for all`];
    if (FRONTS.includes(file)) return [];
    const may = MAY[layer];
    if (may === undefined) return [`src/${layer}/ is not among the layers of test/layers.test.ts`];
    return may.includes(other)
      ? []
      : [
          `src/${file} uses src/${target}: ${layer}/ may use ${may.map((one) => `${one}/`).join(", ") || "no other folder"}`,
        ];
  });
}

test("each folder uses those below it, and each library has its adapter", async () => {
  const all = await imports();
  expect(all.length).toBeGreaterThan(300);
  expect([...new Set(problems(all))]).toEqual([]);
});

test("CONTRIBUTING.md says what is in each folder", async () => {
  const text = await readFile(path.join(packageRoot(), "CONTRIBUTING.md"), "utf8");
  const entries = await readdir(src, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => `${name}/`);
  expect(folders.filter((folder) => !new RegExp(`^\\| .*\`${folder}\``, "m").test(text))).toEqual([]);
});

test("no two folders use each other, however far around", () => {
  for (const layer of Object.keys(MAY)) {
    const below = new Set(MAY[layer]);
    for (const one of below) for (const further of MAY[one] ?? []) below.add(further);
    expect([...below], layer).not.toContain(layer);
  }
});

test("what is wrong is told by its file", () => {
  expect(
    problems([
      { file: "platform/git.ts", from: "../fleet/load.ts" },
      { file: "fleet/load.ts", from: "../commands/check.ts" },
      { file: "commands/check.ts", from: "../cli.ts" },
      { file: "commands/check.ts", from: "../cli/options.ts" },
      { file: "commands/check.ts", from: "ssh2" },
      { file: "errors.ts", from: "./platform/git.ts" },
      { file: "results/check.ts", from: "../nix/build.ts" },
      { file: "nix/build.ts", from: "../results/check.ts" },
      { file: "new/thing.ts", from: "../fleet/load.ts" },
      { file: "commands/check.ts", from: "../fleet/load.ts" },
    ]),
  ).toEqual([
    "src/platform/git.ts uses src/fleet/load.ts: platform/ may use no other folder",
    expect.stringContaining("src/fleet/load.ts uses src/commands/check.ts: fleet/ may use secrets/, platform/"),
    expect.stringContaining("src/commands/check.ts uses src/cli.ts: commands/ may use"),
    expect.stringContaining("src/commands/check.ts uses src/cli/options.ts: commands/ may use"),
    expect.stringContaining("src/commands/check.ts uses ssh2: that is for"),
    "src/errors.ts uses src/platform/git.ts: it is for all",
    "src/results/check.ts uses src/nix/build.ts: it is for all",
    "src/new/ is not among the layers of test/layers.test.ts",
  ]);
});
