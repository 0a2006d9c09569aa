import type { UpdatedFileStatus } from "../../results.ts";
import { type CopiedFile, idOf, type Present, partOf } from "./copied-files.ts";
import type { Lock } from "./lock.ts";

/** What becomes of one file. */
export interface PlannedFile {
  file: string;
  status: UpdatedFileStatus;
  /** What this Bento has there; null for what it has no more. */
  original: CopiedFile | null;
}

export interface Plan {
  files: PlannedFile[];
  /** What is recorded once that is done. */
  recorded: Map<string, string>;
}

/**
 * What an update does: what nobody has changed is replaced, added or removed; what somebody has changed stays, and the rest of its part
 * with it. `isTaken`: of these, Bento's is wanted, whatever was there.
 */
export function planUpdate(
  originals: readonly CopiedFile[],
  lock: Lock | null,
  present: ReadonlyMap<string, Present>,
  isTaken: (file: string) => boolean,
): Plan {
  const byFile = new Map(originals.map((original) => [original.file, original]));
  const all = [...new Set([...byFile.keys(), ...(lock?.files.keys() ?? [])])].sort();
  const isThere = (file: string) => present.get(file)?.kind === "file";
  const parts = Map.groupBy(all, partOf);
  // Who deploys by other means has none of the workflows, and gets none.
  const withWorkflows = all.some((file) => isWorkflow(file) && isThere(file));

  const files = [...parts.values()].flatMap((part): PlannedFile[] => {
    const wasTakenOut = lock === null || part.some((file) => lock.files.has(file));
    const isUnwanted = wasTakenOut || (part.some(isWorkflow) && !withWorkflows);
    const isLeftOut = !part.some(isThere) && !part.some(isTaken) && isUnwanted;
    const planned = part.map((file): PlannedFile => {
      const original = byFile.get(file) ?? null;
      return { file, original, status: isLeftOut && original !== null ? "left-out" : decide(file, original) };
    });
    const isHeld = planned.some(({ status }) => status === "kept");
    return planned.map((one) => (isHeld && isChange(one.status) ? { ...one, status: "held" } : one));
  });

  function decide(file: string, original: CopiedFile | null): UpdatedFileStatus {
    const now = present.get(file) ?? { kind: "missing" };
    const before = lock?.files.get(file) ?? null;
    const wanted = original === null ? null : idOf(original);
    // Whatever somebody has made of it: Bento's own is what it was.
    if (wanted !== null && wanted === before && !isTaken(file)) return "unchanged";
    if (now.kind !== "file") {
      if (wanted === null) return "unchanged";
      return before === null || isTaken(file) ? "added" : "kept";
    }
    if (now.id === wanted) return "unchanged";
    if (now.id !== before && !isTaken(file)) return "kept";
    return wanted === null ? "removed" : "updated";
  }

  const recorded = new Map(
    files.flatMap(({ file, status, original }) => {
      const before = lock?.files.get(file);
      const now = original && idOf(original);
      // What the fleet does without is recorded as well, so that it isn't new to it next time.
      const id = status === "kept" || status === "held" ? before : status === "left-out" ? (before ?? now) : now;
      return id ? [[file, id] as const] : [];
    }),
  );
  return { files: files.sort((one, other) => (one.file < other.file ? -1 : 1)), recorded };
}

/** Whether something is written, or taken away. */
export function isChange(status: UpdatedFileStatus): boolean {
  return status === "updated" || status === "added" || status === "removed";
}

function isWorkflow(file: string): boolean {
  return file.includes(".github/workflows/");
}
