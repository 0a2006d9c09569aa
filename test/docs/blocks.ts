import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { marked, type Token } from "marked";
import { packageRoot } from "../../src/platform/package.ts";

/** What stands in a page as code, apart from the text around it. */
export interface Block {
  page: string;
  line: number;
  /** PAGE:LINE, for whoever has to look there. */
  at: string;
  kind: Kind;
  text: string;
}

/**
 * What a block is: by its language, and of one without, by how it begins.
 *
 * - `yaml`: fleet.yaml, whole or a part, or a workflow, or jobs of one
 * - `nix`: a NixOS module, or what is in the braces of one
 * - `script`: a shell script, from its `#!` on
 * - `shell`: commands, to be typed
 * - `console`: commands after a `$`, each with what it prints
 * - `output`: what a command prints that stands above it
 */
export type Kind = "yaml" | "nix" | "script" | "shell" | "console" | "output" | "unknown";

const root = packageRoot();

/** Every page that git has, but for what is a program's output as a whole. */
export const pages: readonly string[] = execFileSync("git", ["-C", root, "ls-files", "--", "*.md"], {
  encoding: "utf8",
})
  .trim()
  .split("\n")
  .filter((page) => page !== "docs/pictures/report.md");

export const blocks: readonly Block[] = pages.flatMap((page) => {
  const source = readFileSync(path.join(root, page), "utf8");
  const lines = source.split("\n");
  let from = 0;
  return codeIn(marked.lexer(source)).map(({ text, lang, fenced }) => {
    // The lexer doesn't say where; blocks come in the order of the page.
    const [first = ""] = text.split("\n");
    const index = lines.findIndex((line, at) => at >= from && line.trim() === first.trim());
    from = index + text.split("\n").length;
    return { page, line: index + 1, at: `${page}:${index + 1}`, kind: kindOf(text, lang, fenced), text };
  });
});

interface Code {
  text: string;
  lang: string;
  fenced: boolean;
}

function codeIn(tokens: readonly Token[]): Code[] {
  return tokens.flatMap((token) => {
    if (token.type === "code") {
      return [{ text: token.text, lang: token.lang ?? "", fenced: token.codeBlockStyle !== "indented" }];
    }
    if (token.type === "list") return codeIn(token.items);
    return "tokens" in token && token.tokens !== undefined ? codeIn(token.tokens) : [];
  });
}

function kindOf(text: string, lang: string, fenced: boolean): Kind {
  if (lang === "yaml" || lang === "nix") return lang;
  if (fenced && lang !== "sh") return "unknown";
  if (text.startsWith("#!")) return "script";
  if (text.startsWith("$ ")) return "console";
  return /^(?:[^ -~]|~ |\s+HOST )/.test(text) ? "output" : "shell";
}

export const ofKind = (...kinds: Kind[]): Block[] => blocks.filter(({ kind }) => kinds.includes(kind));
