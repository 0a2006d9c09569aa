import { UnavailableError } from "../errors.ts";
import { type RunOptions, type RunResult, run } from "../platform/process.ts";
import { lastSaid } from "./failure-message.ts";

/** What a user passes through to Nix. */
export interface NixPassthrough {
  /** `--override-input NAME URL`, for flakes. */
  overrideInputs: readonly (readonly [string, string])[];
  /** `--option NAME VALUE`. */
  options: readonly (readonly [string, string])[];
  /** `-I PATH`, for hosts without flakes. */
  searchPath: readonly string[];
}

export const NO_PASSTHROUGH: NixPassthrough = { overrideInputs: [], options: [], searchPath: [] };

/** Nix's programs, found once; every call carries the same options. */
export class Nix {
  readonly version: string;
  readonly passthrough: NixPassthrough;
  readonly #signal: AbortSignal | undefined;

  private constructor(version: string, passthrough: NixPassthrough, signal: AbortSignal | undefined) {
    this.version = version;
    this.passthrough = passthrough;
    this.#signal = signal;
  }

  /** @throws UnavailableError when Nix is missing or too old. */
  static async find(passthrough: NixPassthrough = NO_PASSTHROUGH, signal?: AbortSignal): Promise<Nix> {
    let said: RunResult;
    try {
      said = await run("nix-store", ["--version"], signal ? { signal } : {});
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      throw new UnavailableError("Nix was not found on this machine (no nix-store in PATH)", {
        hint: "install it: https://nixos.org/download, or apt-get install nix-bin",
        cause: error,
      });
    }
    // Old versions open the store first, which may be on a full disk.
    if (said.status !== 0) throw new UnavailableError(`Nix doesn't work on this machine: ${lastSaid(said.stderr)}`);
    const version = said.stdout.trim().split(" ").at(-1) ?? "";
    const [major = 0, minor = 0] = version.split(".").map(Number);
    if (major < 2 || (major === 2 && minor < 8)) {
      throw new UnavailableError(`Nix ${version} is too old: 2.8 is the first that works`);
    }
    return new Nix(version, passthrough, signal);
  }

  /**
   * Runs one of Nix's programs. Its standard input is empty and its standard error free of colours; pull requests' flakes can
   * set no options (`nixConfig`), and evaluation builds nothing (import-from-derivation is off).
   */
  async run(
    program: "nix" | "nix-store" | "nix-instantiate",
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<RunResult> {
    // First: Nix 2.34 reads `--override-input` as the flake's address that it is, and refuses it where flakes aren't allowed yet.
    const features = program === "nix" ? ["--extra-experimental-features", "nix-command flakes"] : [];
    const common = [
      // What a flake sets for itself comes over the options given here, and actions that install Nix often accept it.
      ...(program === "nix" ? ["--option", "accept-flake-config", "false"] : []),
      ...this.passthrough.options.flatMap(([name, value]) => ["--option", name, value]),
    ];
    const attempt = () =>
      run(program, [...features, ...args, ...common], {
        ...options,
        ...(this.#signal ? { signal: this.#signal } : {}),
      });
    let result = await attempt();
    // Who follows what is printed has heard of the first attempt already, and decides for itself.
    const tries = options.onStderr === undefined ? COLLISIONS : 0;
    for (let again = 0; again < tries && collided(result.status, result.stderr); again++) result = await attempt();
    return result;
  }
}

/** How often what collided is tried again. */
export const COLLISIONS = 3;

/** Whether a program ended because another one had the store's database. As a warning it says so too, and goes on. */
export function collided(status: number, stderr: string): boolean {
  return status !== 0 && /^\s*error: .*SQLite database .* is busy/m.test(stderr);
}

/** A Nix string literal. */
export function nixString(text: string): string {
  // A carriage return as itself would be read as a line end.
  return `"${text.replace(/[\\"]/g, "\\$&").replaceAll("\r", "\\r").replaceAll("${", "\\${")}"`;
}
