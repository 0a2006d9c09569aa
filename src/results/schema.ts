import { z } from "zod";
import { FLEET_STATES, OUTCOMES } from "./status.ts";

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
  prunedCache: z.object({ paths: z.int(), bytes: z.number() }).exactOptional(),
  signedBy: z.string().exactOptional(),
  push: z
    .object({ url: z.string(), paths: z.int(), bytes: z.number(), signed: z.int(), error: nullable(failure) })
    .exactOptional(),
});

/** The document of `flake-update --json`, as far as a report tells of it. */
export const flakeUpdateDocumentSchema = z.object({
  version: z.literal(1),
  command: z.literal("flake-update"),
  flakes: z.array(z.object({ file: z.string(), error: nullable(failure) })),
});

/** The same as JSON Schema (draft 2020-12), as docs/check.schema.json publishes it. */
export function checkJsonSchema(): object {
  return { title: "bento check --json", ...z.toJSONSchema(checkDocumentSchema, { io: "input" }) };
}

const attempt = z.object({
  sequence: nullable(z.int()),
  commit: nullable(z.string()),
  subject: nullable(z.string()),
  outcome: z.enum(OUTCOMES),
  reason: nullable(z.string()),
  from: nullable(z.string()),
  to: nullable(z.string()),
  started: nullable(z.string()),
  finished: nullable(z.string()),
  duration: nullable(z.number()),
  received: z.iso.datetime(),
});

const hostStatus = z.object({
  name: z.string(),
  state: z.enum(FLEET_STATES),
  sync: z.enum([
    "none",
    "pending",
    "applying",
    "failed",
    "rolled-back",
    "inconclusive",
    "refused",
    "auto-updated",
    "applied",
    "unknown",
  ]),
  health: z.enum(["ok", "reboot-pending", "drifted", "suspended", "silent", "unheard", "unknown"]),
  reason: nullable(z.string()),
  published: nullable(
    z.object({
      sequence: z.int(),
      commit: z.string(),
      subject: z.string(),
      toplevel: nullable(z.string()),
      issued: z.iso.datetime(),
    }),
  ),
  running: nullable(z.object({ toplevel: z.string(), sequence: nullable(z.int()) })),
  lastContact: nullable(z.iso.datetime()),
  lastOutcome: nullable(z.string()),
  attempted: nullable(attempt),
  agent: nullable(z.string()),
  wave: nullable(z.int()),
  groups: z.array(z.string()),
  history: nullable(z.array(attempt)),
  log: nullable(z.string()),
});

/** The document of `status --json`: see StatusDocument for what each field says. */
export const statusDocumentSchema = z.object({
  version: z.literal(1),
  command: z.literal("status"),
  time: z.iso.datetime(),
  failOn: z.array(z.enum(FLEET_STATES)),
  hosts: z.array(hostStatus),
});

/** As docs/status.schema.json publishes it. */
export function statusJsonSchema(): object {
  return { title: "bento status --json", ...z.toJSONSchema(statusDocumentSchema, { io: "input" }) };
}
