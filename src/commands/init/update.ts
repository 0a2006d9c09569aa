import { mkdir, readFile, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { FleetError, InterruptedError } from "../../errors.ts";
import { loadFleet } from "../../fleet/load.ts";
import { FLEET_FILE } from "../../fleet/parse.ts";
import { renderedFiles, staleFiles } from "../../fleet/rendered.ts";
import { type Replacement, replaceFiles } from "../../platform/files.ts";
import { Repository } from "../../platform/git.ts";
import { runGit } from "../../platform/git-run.ts";
import { packageVersion } from "../../platform/package.ts";
import { shellWord } from "../../platform/shell-word.ts";
import { temporaryDirectory } from "../../platform/temporary.ts";
import type { InitUpdateDocument } from "../../results.ts";
import type { Context } from "../context.ts";
import { copiedFiles, type Present, placeOf, presentAt } from "./copied-files.ts";
import { isNewer, LOCK_FILE, type Lock, lockText, readLock } from "./lock.ts";
import { isChange, type PlannedFile, planUpdate } from "./planned.ts";

export interface UpdateOptions {
  /** The fleet's directory. */
  fleet: string;
  /** Files, or directories of them, relative to the fleet, of which Bento's are wanted, whatever was changed there. */
  take: readonly string[];
  /** Say what would be done, and do nothing. */
  dryRun: boolean;
}

/**
 * Brings what `bento init` once copied up to this Bento: what nobody has changed since is replaced, and what somebody has changed is
 * left, with all that has to be of one version with it.
 * @throws FleetError when there is no way back in git, or something is wrong; nothing is written then.
 */
export async function update(context: Context, options: UpdateOptions): Promise<InitUpdateDocument> {
  // 1. What there is, and what this Bento has.
  const fleet = await loadFleet(options.fleet);
  if (fleet.file === null)
    throw new FleetError(`there is no ${FLEET_FILE} in ${fleet.dir}`, { hint: "bento init makes a fleet" });
  const repository = await Repository.open(fleet.dir);
  const dir = await realpath(fleet.dir);
  const place = path.relative(repository.root, dir).split(path.sep).join("/") || ".";
  const lock = await readLock(dir);
  requireNewer(lock);
  const originals = await copiedFiles(place);
  const names = [...new Set([...originals.map(({ file }) => file), ...(lock?.files.keys() ?? [])])];
  const present = await presentOf(names, dir, repository.root);

  // 2. What is to be done.
  const { files, recorded } = planUpdate(originals, lock, present, taken(options.take, names));
  if (files.every(({ status }) => status === "left-out"))
    throw new FleetError("nothing that bento init copies is in this fleet", {
      hint: "a flake that has the modules from Bento's is brought up to date by: nix flake update bento",
    });
  const changes = files.filter(({ status }) => isChange(status));
  const stale = await staleFiles(fleet);
  const text = lockText({ bento: packageVersion(), files: recorded });
  const isRecorded = lock !== null && lockText(lock) === text;

  // 3. Do it, where git has all that goes.
  if (!options.dryRun) {
    const replaced = [...changes.map(({ file }) => file), ...(isRecorded ? [] : [LOCK_FILE])];
    await requireCommitted(repository, dir, replaced, present);
    if (context.signal.aborted) throw new InterruptedError();
    const rendered = renderedFiles(fleet);
    await replaceAll(dir, [
      ...changes.map(replacement),
      ...(isRecorded ? [] : [{ file: LOCK_FILE, content: text }]),
      ...stale.map((file) => ({ file, content: rendered.get(file) ?? "" })),
    ]);
  }

  // 4. Say it.
  const kept = files.filter(({ status }) => status === "kept");
  const shown = await Promise.all(
    files.map(async (one) => ({
      file: one.file,
      place: placeOf(one.file),
      status: one.status,
      change: one.status === "kept" ? await changeOf(repository, dir, one, lock) : null,
    })),
  );
  return {
    version: 1,
    command: "init --update",
    fleet: fleet.dir,
    dryRun: options.dryRun,
    from: lock?.bento ?? null,
    to: packageVersion(),
    files: [...shown, ...stale.map((file) => ({ file, place: file, status: "updated" as const, change: null }))],
    next: [
      ...(kept.length === 0 ? [] : keptSteps(kept, lock)),
      ...(changes.length + stale.length === 0 ? [] : nextSteps(options.dryRun)),
    ],
  };
}

/** What to do about what is left. What isn't recorded is a lot, mostly, and is named by its directory. */
function keptSteps(kept: readonly PlannedFile[], lock: Lock | null): string[] {
  const isRecorded = (file: string) => lock?.files.has(file) ?? false;
  const places = new Set(kept.map(({ file }) => (isRecorded(file) ? file : placeOf(file))));
  const command = ["bento init --update", ...[...places].map((place) => `--take ${shellWord(place)}`)].join(" ");
  return [
    ...(kept.every(({ file }) => isRecorded(file)) ? [] : ["git log -p -- PLACE says what was changed there"]),
    `${command} takes Bento's; then make your own changes again, and commit`,
  ];
}

function nextSteps(dryRun: boolean): string[] {
  return dryRun
    ? ["bento init --update does it"]
    : [
        "bento check",
        "git add -A && git commit; hosts get it as they get any release, a canary first where there are waves",
      ];
}

/** What an older Bento has is no update. */
function requireNewer(lock: Lock | null): void {
  if (lock === null || !isNewer(lock.bento, packageVersion())) return;
  throw new FleetError(`what is here is of Bento ${lock.bento}, and this is ${packageVersion()}`, {
    hint: "bring the command up to date first",
  });
}

/** @throws FleetError for what is behind a link: whatever that leads to may be somebody else's as well. */
async function presentOf(names: readonly string[], dir: string, root: string): Promise<Map<string, Present>> {
  const present = new Map<string, Present>();
  for (const name of names) {
    const one = await presentAt(root, path.join(dir, name));
    if (one.kind === "link") {
      const at = path.relative(dir, one.at);
      throw new FleetError(`${at} is a link: what it leads to is not this fleet's to update`, {
        hint: "bring that up to date where it is",
      });
    }
    present.set(name, one);
  }
  return present;
}

/** @throws FleetError for a place where Bento has nothing. */
function taken(take: readonly string[], names: readonly string[]): (file: string) => boolean {
  const places = take.map((one) => path.posix.normalize(one).replace(/(?<=.)\/$/, ""));
  const isIn = (place: string, file: string) => file === place || file.startsWith(`${place}/`);
  for (const place of places) {
    if (!names.some((name) => isIn(place, name)))
      throw new FleetError(`--take ${place}: bento init copies nothing of that name`, {
        hint: "it is a file or a directory as bento init --update lists them, such as utils/agent",
      });
  }
  return (file) => places.some((place) => isIn(place, file));
}

/** @throws FleetError unless git could give back all of these that there are. */
async function requireCommitted(
  repository: Repository,
  dir: string,
  files: readonly string[],
  present: ReadonlyMap<string, Present>,
): Promise<void> {
  const tracked = new Set((await repository.tracked()).map((entry) => entry.path));
  const modified = new Set(await repository.modified());
  const risked = files.filter((file) => {
    const inRepository = path.relative(repository.root, path.join(dir, file)).split(path.sep).join("/");
    const isThere = present.get(file)?.kind === "file";
    return modified.has(inRepository) || (isThere && !tracked.has(inRepository));
  });
  if (risked.length === 0) return;
  const [first, ...others] = risked;
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  throw new FleetError(`${first}${more} would be replaced, and git doesn't have what is there`, {
    hint: "commit it first, so that nothing is lost: git status",
  });
}

function replacement({ file, original }: PlannedFile): Replacement {
  if (original === null) return { file, content: null };
  return { file, content: original.content, mode: original.executable ? 0o755 : 0o644 };
}

/** @throws FleetError when that can't be done: it is as it was then. */
async function replaceAll(dir: string, replacements: readonly Replacement[]): Promise<void> {
  try {
    await replaceFiles(replacements.map((one) => ({ ...one, file: path.join(dir, one.file) })));
  } catch (error) {
    const { code, path: file } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const at = file === undefined ? dir : path.relative(dir, file);
    throw new FleetError(`nothing is changed, since ${at} can't be written (${code})`, { cause: error });
  }
}

/** What somebody has changed in a file, where the repository still has what was copied; otherwise, what Bento's has that theirs hasn't. */
async function changeOf(
  repository: Repository,
  dir: string,
  { file, original }: PlannedFile,
  lock: Lock | null,
): Promise<InitUpdateDocument["files"][number]["change"]> {
  const theirs = await readFile(path.join(dir, file)).catch(() => Buffer.alloc(0));
  const blob = lock?.files.get(file)?.split(" ")[1];
  const base = blob === undefined ? null : await runGit(repository.root, ["cat-file", "blob", blob]);
  if (base?.status === 0) return { of: "yours", diff: await difference(file, base.stdout, theirs) };
  return { of: "bento", diff: await difference(file, theirs, original?.content ?? Buffer.alloc(0)) };
}

async function difference(file: string, before: Buffer, after: Buffer): Promise<string> {
  await using work = await temporaryDirectory();
  const name = file.replace(/^(?:\.\.\/)+/, "");
  for (const [side, content] of [
    ["a", before],
    ["b", after],
  ] as const) {
    await mkdir(path.join(work.path, side, path.dirname(name)), { recursive: true });
    await writeFile(path.join(work.path, side, name), content);
  }
  const args = ["diff", "--no-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-prefix"];
  return (await runGit(work.path, [...args, `a/${name}`, `b/${name}`])).stdout.toString("utf8");
}
