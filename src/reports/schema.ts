import { z } from "zod";
import { inertLine } from "../inert.ts";
import { OUTCOMES } from "../results.ts";

/**
 * What hosts say (the design's section 7). All of it is hostile: sizes are capped before it gets here, unknown fields are
 * dropped, and texts are made one inert line.
 */

const line = z.string().transform((text) => inertLine(text, 300));
const path = line.nullable().catch(null);
const sequence = z.int().nonnegative().nullable().catch(null);

const commit = z
  .string()
  .regex(/^[0-9a-f]{40}$/)
  .nullable()
  .catch(null);
/** Seconds; one that isn't within a week is not believed, since silence is told by it. */
const interval = z
  .int()
  .min(1)
  .max(7 * 86_400)
  .nullable()
  .catch(null);

export const heartbeatSchema = z.object({
  version: z.literal(1),
  host: z.string(),
  agent: line.nullable().catch(null),
  running: path,
  booted: path,
  profile: path,
  sequence,
  interval,
  suspended: z.boolean().catch(false),
  suspendedUntil: line.nullable().catch(null),
  suspendedReason: line.nullable().catch(null),
  reboot: z.boolean().catch(false),
});

export const reportSchema = z.object({
  version: z.literal(1),
  host: z.string(),
  sequence,
  digest: line.nullable().catch(null),
  commit,
  outcome: z.enum(OUTCOMES),
  reason: line.nullable().catch(null),
  from: path,
  to: path,
  started: line.nullable().catch(null),
  finished: line.nullable().catch(null),
});

export type Heartbeat = z.infer<typeof heartbeatSchema>;
export type Report = z.infer<typeof reportSchema>;

/** A file that a host put there, or undefined when it is none of version 1, or says that it is another host's. */
export function parseHeartbeat(text: string, host: string): Heartbeat | undefined {
  return parse(heartbeatSchema, text, host);
}

export function parseReport(text: string, host: string): Report | undefined {
  return parse(reportSchema, text, host);
}

function parse<T extends { host: string }>(schema: z.ZodType<T>, text: string, host: string): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const result = schema.safeParse(value);
  return result.success && result.data.host === host ? result.data : undefined;
}
