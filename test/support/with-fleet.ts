import { afterAll, afterEach, beforeAll } from "vitest";
import type { FleetRepository } from "./fleet.ts";
import { World, type WorldOptions } from "./world.ts";

export interface FleetOfWorld {
  world: World;
  fleet: FleetRepository;
  /** The fleet's first commit. */
  first: string;
}

/**
 * Makes a world and the demo's fleet for all tests of a file, and takes them away after the last one. `begin` is handed them, and does
 * what else there is to do before the first test; with `resets` the fleet is after each test as `begin` has left it.
 */
export function withFleet(
  { resets = false, ...options }: WorldOptions & { resets?: boolean },
  begin: (made: FleetOfWorld) => void | Promise<void>,
): void {
  let world: World | undefined;
  let reset = async () => {};

  beforeAll(async () => {
    world = await World.make(options);
    const fleet = await world.makeFleet();
    await begin({ world, fleet, first: await fleet.head() });
    const head = await fleet.head();
    if (resets) reset = () => fleet.reset(head);
  });
  afterEach(() => reset());
  afterAll(async () => world?.[Symbol.asyncDispose]());
}
