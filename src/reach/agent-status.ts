import { z } from "zod";
import { inertLine } from "../inert.ts";
import { OUTCOMES } from "../results.ts";

/** What `bento-agent status --json` prints on a host. All of it is foreign, and its texts are made one inert line. */

const line = z.string().transform((text) => inertLine(text, 300));

const agentStatusSchema = z.object({
  version: z.literal(1),
  host: line,
  running: line.nullable().catch(null),
  /** Of the release that it runs. */
  sequence: z.int().nonnegative().nullable().catch(null),
  last: z
    .object({
      sequence: z.int().nonnegative().nullable().catch(null),
      outcome: z.enum(OUTCOMES),
      reason: line.nullable().catch(null),
      started: line,
    })
    .nullable()
    .catch(null),
  suspended: z
    .object({ until: line.nullable().catch(null), reason: line.nullable().catch(null) })
    .nullable()
    .catch(null),
  upgrading: z.boolean().catch(false),
});

export type AgentStatus = z.infer<typeof agentStatusSchema>;

/** Null for what is none of version 1. */
export function parseAgentStatus(text: string): AgentStatus | null {
  try {
    return agentStatusSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
