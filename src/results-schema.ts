import { z } from "zod";

const nullable = <T extends z.ZodType>(type: T) => type.nullable();
const failure = z.object({
  message: z.string(),
  hint: z.string().exactOptional(),
  trace: z.string().exactOptional(),
  derivation: z.string().exactOptional(),
  log: z.string().exactOptional(),
  file: z.string().exactOptional(),
  line: z.int().exactOptional(),
  column: z.int().exactOptional(),
});
const hostCheck = z.object({
  name: z.string(),
  status: z.enum(["ok", "unchanged", "changed", "failed", "skipped"]),
  toplevel: nullable(z.string()),
  drv: nullable(z.string()),
  base: nullable(z.string()),
  packages: nullable(z.array(z.object({ name: z.string(), from: nullable(z.string()), to: nullable(z.string()) }))),
  reboot: nullable(z.boolean()),
  reproducible: z.boolean(),
  remembered: z.boolean(),
  plan: nullable(
    z.object({ build: z.int(), fetch: z.int(), download: nullable(z.number()), unpacked: nullable(z.number()) }),
  ),
  warnings: z.array(z.string()),
  error: nullable(failure),
  duration: z.number(),
});

/** The document of `check --json` and `build --json`: see CheckDocument for what each field says. */
export const checkDocumentSchema = z.object({
  version: z.literal(1),
  command: z.enum(["check", "build"]),
  base: nullable(z.string()),
  warnings: z.array(z.string()),
  hosts: z.array(hostCheck),
  pruned: z.array(z.object({ host: z.string(), toplevel: z.string(), hasLeft: z.boolean() })).exactOptional(),
  signedBy: z.string().exactOptional(),
  push: z.object({ url: z.string(), paths: z.int(), bytes: z.number(), error: nullable(failure) }).exactOptional(),
});

/** The same as JSON Schema (draft 2020-12), as docs/check.schema.json publishes it. */
export function checkJsonSchema(): object {
  return { title: "bento check --json", ...z.toJSONSchema(checkDocumentSchema, { io: "input" }) };
}
