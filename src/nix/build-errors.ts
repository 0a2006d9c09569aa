import { withoutColours } from "./failure-message.ts";

/** What an error message of a build says: that one derivation didn't build, or can't be built here. */
export type BuildError =
  | { kind: "failed"; drv: string; reason: string }
  | { kind: "unbuildable"; drv: string; needs: Platform }
  /** It was given up because of another one, of which there is an error as well. */
  | { kind: "dependent" }
  /** It concerns no derivation, or all of them. */
  | { kind: "other"; text: string };

/** What a derivation asks of the machine that builds it. */
export interface Platform {
  /** Such as aarch64-linux. */
  system: string | null;
  /** Such as kvm. */
  features: readonly string[];
}

const DRV = /'(\/[^'\n]+\.drv)'/;

/**
 * Reads an error of Nix's about builds. Up to 2.28 it says `builder for 'X.drv' failed with …` and `a 'SYSTEM' with features
 * {…} is required to build 'X.drv'`; later versions say `Cannot build 'X.drv'`, and below it `Reason: …`.
 */
export function parseBuildError(message: string): BuildError {
  const text = withoutColours(message)
    .replace(/^\s*error: */, "")
    .trim();
  const drv = DRV.exec(text)?.[1];
  if (drv === undefined) return { kind: "other", text };
  if (/^build of '/.test(text)) return { kind: "dependent" };
  if (/\bdependenc(?:y|ies)\b[^\n]*\bfailed\b/.test(text)) return { kind: "dependent" };
  const needs = platformIn(text);
  if (needs !== undefined) return { kind: "unbuildable", drv, needs };
  const [line = ""] = text.split("\n");
  const said = line.replace(` for '${drv}'`, "").replace(`'${drv}'`, nameOf(drv)).replace(/[:;]$/, "");
  return { kind: "failed", drv, reason: /^\s*Reason: (.*?)\.?$/m.exec(text)?.[1] ?? said };
}

function platformIn(text: string): Platform | undefined {
  const [, system, features] = /a '([^']+)' with features \{([^}]*)\} is required to build/.exec(text) ?? [];
  if (system !== undefined) return { system, features: list(features) };
  if (!/Reason: (?:platform mismatch|missing system features|required system or feature not available)/.test(text)) {
    return undefined;
  }
  return {
    system: /Required system: '([^']+)'/.exec(text)?.[1] ?? null,
    features: list(/(?:Required features:|Required system: '[^']+' with features) \{([^}]*)\}/.exec(text)?.[1]),
  };
}

function list(text = ""): string[] {
  return text.split(",").flatMap((word) => word.trim() || []);
}

/** A derivation's name without its place and hash: `nginx-1.29.3`. */
export function nameOf(drv: string): string {
  return drv.replace(/^.*\/[0-9a-z]{32}-/, "").replace(/\.drv$/, "");
}
