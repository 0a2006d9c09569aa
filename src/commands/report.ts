import { readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { FleetError } from "../errors.ts";
import { checkDocumentSchema, flakeUpdateDocumentSchema } from "../results/schema.ts";
import type { CheckDocument } from "../results.ts";
import type { Context } from "./context.ts";

export interface ReportOptions {
  /** Files with the JSON documents of `check --shard`, and of `flake-update` where that came before the check. */
  files: readonly string[];
}

/**
 * Makes one document of those of several shards; what could not be updated before is a warning. They may come from jobs that ran a pull request's code, so nothing in them is
 * taken for granted.
 * @throws FleetError when one can't be read, or isn't such a document, or two have the same host.
 */
export async function report(context: Context, options: ReportOptions): Promise<CheckDocument> {
  const read = await Promise.all(options.files.map((file) => readDocument(path.resolve(context.cwd, file))));
  const documents = read.filter((document) => document.command !== "flake-update");
  const updates = read.filter((document) => document.command === "flake-update");
  const [first] = documents;
  if (first === undefined) throw new FleetError("there is no document to report on");
  const hosts = documents.flatMap((document) => document.hosts).sort((a, b) => (a.name < b.name ? -1 : 1));
  const twice = hosts.find((host, index) => host.name === hosts[index + 1]?.name);
  if (twice !== undefined) throw new FleetError(`${twice.name} is in more than one of the documents`);
  return {
    version: 1,
    command: first.command,
    base: first.base,
    warnings: [...new Set([...updates.flatMap(notUpdated), ...documents.flatMap((document) => document.warnings)])],
    hosts,
  };
}

type Updates = z.infer<typeof flakeUpdateDocumentSchema>;

function notUpdated({ flakes }: Updates): string[] {
  return flakes.flatMap(({ file, error }) => (error === null ? [] : [`${file} is as it was: ${error.message}`]));
}

async function readDocument(file: string): Promise<CheckDocument | Updates> {
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new FleetError(`${file} can't be read (${cause.code})`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FleetError(`${file} is not JSON`, { cause });
  }
  const isUpdate = (value as { command?: unknown } | null)?.command === "flake-update";
  const result = (isUpdate ? flakeUpdateDocumentSchema : checkDocumentSchema).safeParse(value);
  if (!result.success) {
    const command = isUpdate ? "flake-update" : "check";
    throw new FleetError(`${file} is not what bento ${command} --json prints: ${z.prettifyError(result.error)}`);
  }
  return result.data;
}
