import { once } from "node:events";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { makeDirectory, replaceFiles, writeFileAtomically } from "../../src/platform/files.ts";
import { scratch, writeTree } from "./scratch.ts";

test("makes the directories on the way, and the mode that is asked for", async () => {
  await using dir = await scratch();
  const file = path.join(dir.path, "a/b/c.json");
  await writeFileAtomically(file, "text\n");
  expect(await readFile(file, "utf8")).toBe("text\n");
  expect((await stat(file)).mode & 0o777).toBe(0o644);
  await writeFileAtomically(file, "secret\n", 0o600);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test("leaves nothing beside the file, neither when it works nor when it doesn't", async () => {
  await using dir = await scratch();
  await writeFileAtomically(path.join(dir.path, "file"), "one");
  await writeFileAtomically(path.join(dir.path, "file"), "two");
  await mkdir(path.join(dir.path, "directory/full"), { recursive: true });
  await expect(writeFileAtomically(path.join(dir.path, "directory"), "text")).rejects.toThrow(/EISDIR|ENOTEMPTY/);
  expect((await readdir(dir.path)).sort()).toEqual(["directory", "file"]);
});

test("a reader sees the old content or the new, never a part", async () => {
  await using dir = await scratch();
  const file = path.join(dir.path, "file");
  const contents = ["a".repeat(300_000), "b".repeat(400_000)];
  await writeFile(file, contents[0] ?? "");
  // A thread of its own, since reading and writing in one would take turns.
  const reader = new Worker(
    `const { readFileSync } = require("node:fs");
     const { parentPort, workerData } = require("node:worker_threads");
     const seen = new Set();
     let reading = true;
     parentPort.on("message", () => { reading = false; });
     const read = () => {
       const text = readFileSync(workerData, "utf8");
       seen.add(text.slice(0, 1) + text.length + (text === text.slice(0, 1).repeat(text.length)));
       if (reading) setImmediate(read);
       else { parentPort.postMessage([...seen].sort()); parentPort.close(); }
     };
     parentPort.postMessage("ready");
     read();`,
    { eval: true, workerData: file },
  );
  await once(reader, "message");
  for (let i = 1; i <= 40; i++) await writeFileAtomically(file, contents[i % 2] ?? "");
  const answer = once(reader, "message");
  reader.postMessage("stop");
  expect((await answer)[0]).toEqual(["a300000true", "b400000true"]);
});

test("several files are replaced, or none: also where it fails at the last", async () => {
  await using dir = await scratch();
  const at = (name: string) => path.join(dir.path, name);
  const before = { one: "1\n", "deep/two": "2\n", "gone/three": "3\n", "taken/directory": "" };
  await writeTree(dir.path, before);
  const some = [
    { file: at("one"), content: "new\n", mode: 0o755 },
    { file: at("deep/er/new"), content: Buffer.from("new\n") },
    { file: at("gone/three"), content: null },
    { file: at("never"), content: null },
  ];
  const all = async () =>
    (await readdir(dir.path, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(dir.path, path.join(entry.parentPath, entry.name)))
      .sort();
  const files = Object.keys(before).sort();
  await expect(replaceFiles([...some, { file: at("taken"), content: "new\n" }])).rejects.toThrow(/EPERM|EISDIR/);
  expect(await all()).toEqual(files);
  expect(await readFile(at("one"), "utf8")).toBe("1\n");
  await expect(replaceFiles([...some, { file: at("one/below"), content: "new\n" }])).rejects.toThrow(/EEXIST|ENOTDIR/);
  expect(await all()).toEqual(files);

  await replaceFiles(some);
  expect(await all()).toEqual(["deep/er/new", "deep/two", "one", "taken/directory"]);
  expect([await readFile(at("one"), "utf8"), (await stat(at("one"))).mode & 0o777]).toEqual(["new\n", 0o755]);
  // Nothing is left in it.
  expect((await readdir(dir.path)).sort()).toEqual(["deep", "one", "taken"]);
});

test("a directory is made with those above it; one that is there is no trouble, and a file is", async () => {
  await using dir = await scratch();
  const place = path.join(dir.path, "a/b/c");
  await makeDirectory(place);
  await Promise.all([
    makeDirectory(place),
    makeDirectory(path.join(place, "d")),
    makeDirectory(path.join(place, "d/e")),
  ]);
  expect((await stat(path.join(place, "d/e"))).isDirectory()).toBe(true);
  await writeFile(path.join(place, "file"), "");
  await expect(makeDirectory(path.join(place, "file"))).rejects.toThrow(/EEXIST/);
  await expect(makeDirectory(path.join(place, "file/below"))).rejects.toThrow(/ENOTDIR/);
});

test("where no directory can be made, it says so at once", async () => {
  await expect(makeDirectory("/proc/bento/cache")).rejects.toThrow(/ENOENT/);
});
