import { readFileSync } from "node:fs";

/** A derivation's file is missing, or in a form that isn't known here. */
export class UnreadableDerivation extends Error {}

interface Derivation {
  outputs: string[];
  /** The derivations that it is built from. */
  inputs: string[];
  /** What it is built on, such as x86_64-linux. */
  system: string;
}

/** The derivations of a store, each read when it is first asked for. */
export class DerivationGraph {
  readonly #known = new Map<string, Derivation>();

  /** `drv`, and what can be reached from it through derivations for which `follow` is true. */
  reachable(drv: string, follow: (drv: string) => boolean): string[] {
    const seen = new Set([drv]);
    // A set is gone through in the order of its making, also what is added on the way.
    for (const at of seen) {
      if (follow(at)) for (const input of this.#read(at).inputs) seen.add(input);
    }
    return [...seen];
  }

  outputs(drvs: readonly string[]): string[] {
    return drvs.flatMap((drv) => this.#read(drv).outputs);
  }

  /** What `drv` is built on, such as x86_64-linux. */
  systemOf(drv: string): string {
    return this.#read(drv).system;
  }

  #read(drv: string): Derivation {
    const known = this.#known.get(drv);
    if (known) return known;
    const derivation = readDerivation(drv);
    this.#known.set(drv, derivation);
    return derivation;
  }
}

function readDerivation(file: string): Derivation {
  let text: string;
  try {
    text = readFileSync(file, "latin1");
  } catch (cause) {
    throw new UnreadableDerivation(`${file} can't be read`, { cause });
  }
  return parseDerivation(text, file);
}

/**
 * Reads the beginning of a derivation's file: `Derive([(output, path, …), …], [(input, [output, …]), …], [source, …], system, …` (ATerm; Nix manual,
 * "Derivation ATerm format"). Store paths have nothing in them that is escaped.
 */
export function parseDerivation(text: string, file: string): Derivation {
  const [, outputs, inputs, system] =
    /^Derive\(\[((?:\("[^"]*","[^"]*","[^"]*","[^"]*"\),?)*)\],\[((?:\("[^"]*",\[[^\]]*\]\),?)*)\],\[[^\]]*\],"([^"]*)",/.exec(
      text,
    ) ?? [];
  if (outputs === undefined || inputs === undefined || system === undefined)
    throw new UnreadableDerivation(`${file} is no derivation of a known form`);
  return {
    outputs: [...outputs.matchAll(/\("[^"]*","([^"]*)"/g)].map((match) => match[1] ?? ""),
    inputs: [...inputs.matchAll(/\("([^"]*)",\[/g)].map((match) => match[1] ?? ""),
    system,
  };
}
