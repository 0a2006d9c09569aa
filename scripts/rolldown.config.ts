// Bundles the two fronts into dist/, which is committed: GitHub runs an Action from a bare checkout, without `npm install`.
import { defineConfig } from "rolldown";
import { textFiles } from "./text-files.ts";

export default defineConfig({
  input: { index: "src/action.ts", cli: "src/main.ts" },
  platform: "node",
  // ssh2's native accelerators are optional: it falls back to JavaScript when they can't be loaded.
  external: [/\.node$/, "cpu-features"],
  plugins: [textFiles()],
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
