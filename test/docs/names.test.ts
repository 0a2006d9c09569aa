import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { expect, test } from "vitest";
import { program } from "../../src/cli.ts";
import { packageRoot } from "../../src/platform/package.ts";

// What the documentation names is there: files and headings that it links to, commands and their options, options of the
// modules. What its blocks of code say is in examples.test.ts.

const root = packageRoot();
const docs = path.join(root, "docs");
const pages = [
  "README.md",
  "utils/agent/README.md",
  ...(await readdir(docs, { recursive: true })).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`),
];
const texts = new Map(
  await Promise.all(pages.map(async (page) => [page, await readFile(path.join(root, page), "utf8")] as const)),
);
const options = await readFile(path.join(docs, "reference/options.md"), "utf8");

interface Found {
  /** PAGE:LINE */
  at: string;
  text: string;
}

/** What `pattern` finds in pages, its first group, with its place. */
function find(pattern: RegExp, within: (page: string) => boolean = () => true): Found[] {
  return [...texts]
    .filter(([page]) => within(page))
    .flatMap(([page, text]) =>
      [...text.matchAll(pattern)].map((match) => ({
        at: `${page}:${text.slice(0, match.index).split("\n").length}`,
        text: match[1] ?? "",
      })),
    );
}

/** As GitHub makes them of headings. */
function anchors(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test("links lead somewhere", () => {
  const broken = find(/\]\(([^()\s]+)\)/g).filter(({ at, text }) => {
    if (/^https?:/.test(text)) return false;
    const page = at.replace(/:\d+$/, "");
    const [file = "", anchor] = text.split("#");
    const target = file === "" ? page : path.join(path.dirname(page), file);
    if (!existsSync(path.join(root, target))) return true;
    return anchor !== undefined && !anchors(texts.get(target) ?? "").includes(anchor);
  });
  expect(broken).toEqual([]);
});

test("every page of the documentation is one that the README leads to", () => {
  const linked = new Set(
    find(/\]\(([^()\s]+)\)/g, (page) => page === "README.md").map(({ text }) => text.replace(/#.*/, "")),
  );
  expect(pages.filter((page) => /^docs\/(?:reference\/)?[^/]+$/.test(page) && !linked.has(page))).toEqual([]);
});

/** Code: spans, and lines of blocks, which are indented or fenced. */
const CODE = /`([^`\n]+)`|^(?: {4}|\t)(.*)$/gm;

function commandLines(name: string): Found[] {
  const lines = [...texts].flatMap(([page, text]) => {
    const fenced = [...text.matchAll(/^```(?:sh|console|bash)?\n([\s\S]*?)^```/gm)].flatMap((match) =>
      (match[1] ?? "").split("\n").map((line) => ({ at: page, text: line })),
    );
    const others = [...text.matchAll(CODE)].map((match) => ({
      at: `${page}:${text.slice(0, match.index).split("\n").length}`,
      text: match[1] ?? match[2] ?? "",
    }));
    return [...fenced, ...others];
  });
  // Of each line, the commands in it: what comes after is another's.
  return lines.flatMap(({ at, text }) =>
    text
      .replace(/(?:^|\s)#.*$/, "")
      // What is in quotes is one word, whatever it says.
      .replace(/'[^']*'|"[^"]*"/g, "QUOTED")
      .split(/\||&&|;|>|\$\(/)
      .map((part) => part.trim().replace(/^(?:sudo |[A-Z_]+=\S+ )+/, ""))
      .filter((part) => part.startsWith(`${name} `))
      .map((part) => ({ at, text: part })),
  );
}

/** The command that words begin with, and those that are left. */
function resolve(command: Command, words: readonly string[]): { command: Command; rest: readonly string[] } {
  const [first, ...rest] = words;
  const found = command.commands.find((one) => one.name() === first);
  return found === undefined ? { command, rest: words } : resolve(found, rest);
}

test("commands are there, and have the options that are named", () => {
  const lines = commandLines("bento");
  expect(lines.length).toBeGreaterThan(40);
  const wrong = lines.filter(({ text }) => {
    const { command, rest } = resolve(program(), text.split(/\s+/).slice(1));
    const known = command.options.flatMap(({ long, short }) => [long, short]);
    const named = rest.join(" ").match(/(?<=^|[\s[])--?[a-z][a-z-]*/g) ?? [];
    if (named.some((option) => !known.includes(option) && option !== "--help")) return true;
    // A group of commands does nothing by itself; and none has a word where it takes no argument.
    const words = rest.filter((word) => /^[a-z]/.test(word));
    return command.commands.length > 0 && words.length > 0;
  });
  expect(wrong).toEqual([]);
});

test("options of the modules are there", () => {
  const known = [...options.matchAll(/^### `(.*)`$/gm)].map(([, name = ""]) => name.replace(/[."]*<name>.*/, ""));
  expect(known.length).toBeGreaterThan(30);
  const named = find(/\b(services\.bento(?:-server|-runner)?(?:\.[a-zA-Z]+)+)/g);
  expect(named.length).toBeGreaterThan(20);
  const isKnown = (name: string) =>
    known.some((one) => one === name || one.startsWith(`${name}.`) || isBelow(name, one));
  const isBelow = (name: string, one: string) => /\.(?:secrets|environment)$/.test(one) && name.startsWith(`${one}.`);
  expect(named.filter(({ text }) => !isKnown(text))).toEqual([]);
});
