import type { Location } from "../errors.ts";

export interface HostFailure extends Partial<Location> {
  /** One line, the innermost cause. */
  message: string;
  /** What to do about it. */
  hint?: string;
  /** The whole text of the tool that failed, or the end of a build's log, for those who want it. */
  trace?: string;
  /** What didn't build. */
  derivation?: string;
  /** The file with the whole log of that, absolute. */
  log?: string;
}
