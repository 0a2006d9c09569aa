import { defineConfig } from "vitest/config";
import { textFiles } from "../scripts/text-files.ts";

// `*.test.ts` need nothing but Node; `*.itest.ts` need real git, sshd and nix, and root for sshd's chroots.
export default defineConfig({
  root: new URL("..", import.meta.url).pathname,
  plugins: [textFiles()],
  test: {
    include: ["test/**/*.test.ts", "test/**/*.itest.ts"],
    globalSetup: [],
    // As src/main.ts does for Node 22.
    setupFiles: ["core-js/actual/async-disposable-stack/index.js"],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // Two cores, of which a test that waits leaves some.
    maxWorkers: 3,
  },
});
