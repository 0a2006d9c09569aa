import { FleetError } from "../errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { GitPublisher } from "../publish/git.ts";
import type { WayOut } from "../publish/publishers.ts";
import { SftpPublisher } from "../publish/sftp.ts";
import { openPrivateKey } from "../release/keys.ts";
import type { Context } from "./context.ts";
import { describeKey, GIT_KEY, keysFromEnvironment, optionalKey, PUBLISHER_KEY } from "./keys.ts";

export interface WaysOut extends AsyncDisposable {
  list: readonly WayOut[];
}

/**
 * The publishers of a fleet, with their keys, and without any connection yet.
 * @throws FleetError when it has none, or a key is missing or wrong.
 */
export async function waysOut(
  context: Context,
  { dir, server, git }: Pick<Fleet, "dir" | "server" | "git">,
): Promise<WaysOut> {
  await using keys = new AsyncDisposableStack();
  const list: WayOut[] = [];
  if (server !== null) {
    const [source] = keysFromEnvironment(context.env, PUBLISHER_KEY);
    const key = keys.use(await openPrivateKey(source, describeKey(PUBLISHER_KEY)));
    const name = `sftp://${server.user}@${server.address}:${server.port}`;
    list.push({
      name,
      open: () => SftpPublisher.connect(server, key, { signal: context.signal, say: context.output.info }),
    });
  }
  if (git !== null) {
    const source = optionalKey(context.env, GIT_KEY);
    const key = source === undefined ? null : keys.use(await openPrivateKey(source, describeKey(GIT_KEY)));
    const options = { settings: git, repository: dir, key: key?.file ?? null, signal: context.signal };
    list.push({ name: GitPublisher.nameOf(git), open: () => GitPublisher.open(options) });
  }
  if (list.length === 0) {
    throw new FleetError("fleet.yaml has neither a server nor a git remote to deploy to", {
      hint: "see 'server' and 'git' in the README",
    });
  }
  const opened = keys.move();
  return { list, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
