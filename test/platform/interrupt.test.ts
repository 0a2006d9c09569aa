import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { expect, test } from "vitest";

const source = path.resolve(import.meta.dirname, "../../src/platform/interrupt.ts");

/** A program that does `work` with the signal of `onInterrupt`, after it said that it is ready. */
async function program(work: string) {
  const script = `import { onInterrupt } from ${JSON.stringify(source)};
    const signal = onInterrupt();
    const stay = setInterval(() => {}, 1000);
    ${work}
    console.log("ready");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

test.each(["SIGINT", "SIGTERM"] as const)("%s lets the program clean up and end by itself", async (name) => {
  const child = await program(`
    signal.addEventListener("abort", () => { clearInterval(stay); console.log("cleaned up"); process.exitCode = 130; });`);
  const said = once(child.stdout, "data");
  const ended = once(child, "exit");
  child.kill(name);
  expect(String((await said)[0])).toBe("cleaned up\n");
  expect(await ended).toEqual([130, null]);
});

test("a second one ends it at once, whatever it is doing", async () => {
  const child = await program(`signal.addEventListener("abort", () => console.log("busy"));`);
  const said = once(child.stdout, "data");
  const ended = once(child, "exit");
  child.kill("SIGINT");
  await said;
  child.kill("SIGTERM");
  expect(await ended).toEqual([130, null]);
});
