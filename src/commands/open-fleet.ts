import path from "node:path";
import { FleetError } from "../errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { staleFiles } from "../fleet/rendered.ts";
import { makeDirectory } from "../platform/files.ts";
import { Repository } from "../platform/git.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import { Stager } from "../tree/stage.ts";

/** A fleet that is loaded and whose hosts can be staged: what check, build and deploy begin with. */
export interface OpenFleet extends AsyncDisposable {
  fleet: Fleet;
  repository: Repository;
  stager: Stager;
  /** For people. */
  warnings: string[];
}

/**
 * Loads the fleet in `dir`, as it is rendered.
 * @throws FleetError when it is wrong, or when a rendered file is stale.
 */
export async function loadRenderedFleet(dir: string): Promise<Fleet> {
  const fleet = await loadFleet(dir);
  const stale = await staleFiles(fleet);
  if (stale.length > 0) {
    throw new FleetError(`${stale.join(" and ")} ${stale.length > 1 ? "are" : "is"} not what fleet.yaml says`, {
      hint: "run 'bento render' and commit the result",
    });
  }
  return fleet;
}

/**
 * Opens a fleet's repository.
 * @throws FleetError when there is none, or it is wrong.
 */
export async function openFleet(fleet: Fleet, { dirty }: { dirty: boolean }): Promise<OpenFleet> {
  const repository = await Repository.open(fleet.dir);
  const temporary = await temporaryDirectory();
  try {
    const untracked = dirty ? await repository.untracked() : [];
    const stager = await Stager.open(repository, fleet, path.join(temporary.path, "staged"), untracked);
    const warnings =
      untracked.length === 0
        ? []
        : [`--dirty: ${untracked.length} files that git doesn't track are taken in; a deploy will not have them`];
    return { fleet, repository, stager, warnings, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  } catch (error) {
    await temporary[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * The same fleet as it is at a commit, checked out beside it.
 * @throws FleetError when it can't be loaded there.
 */
export async function openFleetAt({ fleet, repository }: OpenFleet, commit: string): Promise<OpenFleet> {
  await using resources = new AsyncDisposableStack();
  const temporary = resources.use(await temporaryDirectory());
  const there = resources.use(await repository.checkout(commit, path.join(temporary.path, "commit")));
  const dir = path.join(there.root, path.relative(repository.root, fleet.dir));
  // One that came later had no hosts then.
  await makeDirectory(dir);
  const then = await loadFleet(dir);
  const stager = await Stager.open(there, then, path.join(temporary.path, "staged"));
  const opened = resources.move();
  return {
    fleet: then,
    repository: there,
    stager,
    warnings: [],
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
