import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { expect, test } from "vitest";
import { scratch, writeTree } from "../platform/scratch.ts";
import { exec, succeed } from "../support/programs.ts";
import { ofKind } from "./blocks.ts";

// The checks of docs/health-checks.md: each says that all is well when it is, and why it isn't when it isn't.

async function check(name: string, env: Record<string, string>): Promise<[status: number, reason: string]> {
  const block = ofKind("script").find(
    ({ page, text }) => page === "docs/health-checks.md" && text.includes(`\n# ${name}: `),
  );
  if (block === undefined) throw new Error(`docs/health-checks.md has no ${name}`);
  const { status, stdout, stderr } = await exec("sh", ["-c", block.text], { env });
  return [status, `${stdout}${stderr}`.trimEnd().split("\n").at(-1) ?? ""];
}

test("answers", async () => {
  let answer = 200;
  const server = createServer((_, response) => response.writeHead(answer).end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const env = { PAGE: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
  try {
    expect(await check("answers", env)).toEqual([0, ""]);
    answer = 502;
    expect(await check("answers", env)).toEqual([22, expect.stringContaining("502")]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  expect(await check("answers", env)).toEqual([7, expect.stringMatching(/connect/i)]);
});

test("data", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "data/file": "" });
  const data = path.join(dir.path, "data");
  expect(await check("data", { DATA: data })).toEqual([1, `${data} is not mounted`]);
  await succeed("mount", ["-t", "tmpfs", "bento-test", data]);
  try {
    expect(await check("data", { DATA: data })).toEqual([0, ""]);
    await succeed("mount", ["-o", "remount,ro", data]);
    expect(await check("data", { DATA: data })).toEqual([1, expect.stringContaining("Read-only file system")]);
  } finally {
    await succeed("umount", [data]);
  }
});
