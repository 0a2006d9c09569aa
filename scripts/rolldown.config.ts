// Bundles the two fronts into dist/, which is committed: GitHub runs an Action from a bare checkout, without `npm install`.
import { defineConfig, type Plugin } from "rolldown";
import { textFiles } from "./text-files.ts";

/**
 * ssh2's native accelerators are optional: it falls back to JavaScript when they can't be loaded. Here they never are: what lies in a
 * node_modules nearby may be built for another Node than the one that runs, and then it doesn't fail but damages memory.
 */
const withoutNative: Plugin = {
  name: "without-native",
  resolveId: (id) => (id === "cpu-features" || id.endsWith(".node") ? "\0native" : null),
  load: (id) => (id === "\0native" ? 'module.exports = null;\nthrow new Error("left out of the bundle");\n' : null),
};

export default defineConfig({
  input: { index: "src/action.ts", cli: "src/main.ts" },
  platform: "node",
  plugins: [withoutNative, textFiles()],
  // `using` reached Node in 24; older Nodes get it spelled out.
  transform: { target: "node22" },
  output: {
    dir: "dist",
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "shared.js",
    cleanDir: true,
  },
});
