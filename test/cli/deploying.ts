import type { FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import type { World } from "../support/world.ts";
import { bento } from "./bento.ts";

export type Environment = Record<string, string | undefined>;

/** The keys of a world's fleet, as a deploy has them in its environment. */
export const deployKeys = ({ publisherKey, signingKey }: World) => ({
  BENTO_SSH_KEY_FILE: publisherKey.file,
  BENTO_SIGNING_KEY_FILE: signingKey.file,
});

export const deployWith = (world: World, fleet: FleetRepository, args: readonly string[], env: Environment = {}) =>
  bento(["deploy", ...args], { cwd: fleet.dir, env: { ...deployKeys(world), ...env } });

/** Everything on the server: each file's path, mode, owner, size, time of change and inode. */
export const serverListing = (world: World) =>
  succeed("find", [world.server.root, "-printf", "%p %m %u:%g %s %T@ %i\n"]).then((text) => text.split("\n").sort());
