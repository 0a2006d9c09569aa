import { BUILD, BUILDS, COPY_PATH, FILE_TRANSFER, type NixEvent } from "./activity.ts";
import { nameOf } from "./build-errors.ts";

/** What goes on in a build. */
export interface BuildState {
  /** Names of what is being built, the longest first. */
  building: readonly string[];
  /** Derivations. */
  built: number;
  toBuild: number;
  /** Bytes. */
  fetched: number;
  toFetch: number;
}

/** Follows Nix's events. `wanted` are the systems: `onDone` hears of each that was built or fetched. */
export class BuildProgress {
  readonly #names = new Map<string, string>();
  readonly #onDone: (name: string) => void;
  readonly #building = new Map<number, string>();
  readonly #types = new Map<number, number>();
  readonly #copying = new Map<number, string>();
  /** By activity, and of those that have ended. */
  readonly #bytes = new Map<number, { type: number; done: number; expected: number }>();
  readonly #ended = new Map<number, number>();
  readonly #expected = new Map<number, number>();
  #built = 0;
  #toBuild = 0;
  /** What ended last: if it failed, that is said right afterwards. */
  #last: string | undefined;

  /** `wanted`: names by derivation and by output. */
  constructor(wanted: ReadonlyMap<string, string>, onDone: (name: string) => void) {
    this.#names = new Map(wanted);
    this.#onDone = onDone;
  }

  see(event: NixEvent): void {
    const isError = event.kind === "message" && event.level === 0;
    if (this.#last !== undefined) {
      if (!isError || !event.text.includes(this.#last)) this.#done(this.#last);
      this.#last = undefined;
    }
    switch (event.kind) {
      case "start":
        this.#types.set(event.id, event.type);
        if (event.type === BUILD) this.#building.set(event.id, event.path);
        if (event.type === COPY_PATH) this.#copying.set(event.id, event.path);
        return;
      case "stop":
        this.#stop(event.id);
        return;
      case "progress":
        this.#progress(event);
        return;
      case "expected":
        if (event.type === FILE_TRANSFER || event.type === COPY_PATH) {
          this.#expected.set(event.type, Math.max(event.expected, this.#expected.get(event.type) ?? 0));
        }
        return;
      default:
        if (!isError) return;
        // What failed has ended, whatever is said of it.
        for (const [id, drv] of this.#building) if (event.text.includes(drv)) this.#building.delete(id);
    }
  }

  /** There is nothing more to come. */
  end(): void {
    if (this.#last !== undefined) this.#done(this.#last);
    this.#last = undefined;
  }

  state(): BuildState {
    // Of a download both are told; what goes over the network counts.
    const type = this.#expected.get(FILE_TRANSFER) || this.#sum(FILE_TRANSFER) > 0 ? FILE_TRANSFER : COPY_PATH;
    const fetched = this.#sum(type);
    return {
      building: [...this.#building.values()].map(nameOf),
      built: this.#built,
      toBuild: this.#toBuild,
      fetched,
      toFetch: Math.max(fetched, this.#expected.get(type) ?? 0),
    };
  }

  #stop(id: number): void {
    const path = this.#building.get(id) ?? this.#copying.get(id);
    const bytes = this.#bytes.get(id);
    if (bytes !== undefined) this.#ended.set(bytes.type, (this.#ended.get(bytes.type) ?? 0) + bytes.done);
    for (const map of [this.#building, this.#copying, this.#types, this.#bytes]) map.delete(id);
    if (path !== undefined && this.#names.has(path)) this.#last = path;
  }

  #progress({ id, done, expected }: Extract<NixEvent, { kind: "progress" }>): void {
    const type = this.#types.get(id);
    if (type === BUILDS) {
      this.#built = Math.max(this.#built, done);
      this.#toBuild = Math.max(this.#toBuild, expected);
    } else if (type === FILE_TRANSFER || type === COPY_PATH) {
      this.#bytes.set(id, { type, done, expected });
    }
  }

  #sum(wanted: number): number {
    const running = [...this.#bytes.values()].filter(({ type }) => type === wanted);
    return running.reduce((sum, { done }) => sum + done, this.#ended.get(wanted) ?? 0);
  }

  #done(path: string): void {
    const name = this.#names.get(path);
    if (name === undefined) return;
    for (const [key, value] of this.#names) if (value === name) this.#names.delete(key);
    this.#onDone(name);
  }
}
