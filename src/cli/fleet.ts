import path from "node:path";
import { type Command, Option } from "commander";
import { hostAdd, hostList, hostRemove } from "../commands/host.ts";
import { update } from "../commands/init/update.ts";
import { init } from "../commands/init.ts";
import { render } from "../commands/render.ts";
import { FleetError } from "../errors.ts";
import { renderInitUpdate } from "../render/init-update.ts";
import { renderHostEdit, renderHostList, renderInit, renderRender } from "../render/lists.ts";
import { append, type CommonOptions, common, given, wholeNumber, withHosts } from "./options.ts";
import { show } from "./session.ts";

/** What is in the repository: fleet.yaml, what is made from it, and its hosts. */
export function addFleetCommands(bento: Command): void {
  const onlyNew = (flags: string, description: string) => new Option(flags, description).conflicts("update");
  common(bento.command("init [directory]"))
    .description("make a fleet: fleet.yaml, utils/, hosts/ and workflows; or bring those of an older Bento up to date")
    .addOption(onlyNew("--server <address>", "the server that hosts will poll"))
    .addOption(onlyNew("--port <number>", "its ssh port").argParser(wholeNumber).default(22))
    .addOption(
      onlyNew("--host-key <key>", "a public host key of the server's, to pin (can be repeated)")
        .argParser(append)
        .default([]),
    )
    .addOption(onlyNew("--keys <directory>", "where bento keygen left its keys"))
    .addOption(onlyNew("--subdirectory", "the fleet is a part of the repository around it").default(false))
    .option("--update", "bring what an older bento init copied up to this Bento, as far as it wasn't changed since")
    .option("--take <path>", "with --update: take Bento's here, whatever was changed (can be repeated)", append, [])
    .option("--dry-run", "with --update: only say what would be done", false)
    .action((directory: string | undefined, options) => {
      if (options.update) return updateCopies(directory, options);
      return show(
        options,
        async ({ context }) => {
          if (options.dryRun || options.take.length > 0)
            throw new FleetError("--dry-run and --take are for bento init --update");
          return init(context, {
            directory: directory ?? options.fleet ?? ".",
            server: options.server ?? null,
            port: options.port,
            hostKeys: options.hostKey,
            keys: options.keys ?? null,
            subdirectory: options.subdirectory,
          });
        },
        (document, { paint }) => renderInit(document, paint),
      );
    });

  common(bento.command("render"))
    .description("write the files that are made from fleet.yaml")
    .action((options) =>
      show(
        options,
        ({ fleet }) => render({ fleet: fleet() }),
        (document, { paint }) => renderRender(document, paint),
      ),
    );

  const host = bento.command("host").description("list, add and remove hosts").exitOverride();
  withHosts(common(host.command("list")))
    .description("the hosts of fleet.yaml, and configurations without an entry")
    .action((options) =>
      show(
        options,
        async ({ fleet, hosts }) => hostList({ fleet: fleet(), hosts }),
        (document, { paint }) => renderHostList(document, paint),
      ),
    );
  common(host.command("add <name>"))
    .description("enter a host into fleet.yaml")
    .option("--key <key>", "its public ssh key, a line such as 'ssh-ed25519 AAAA… root@name'")
    .option("--key-file <file>", "a file with that line")
    .option("--path <directory>", "where its configuration is, within the fleet (default: hosts/NAME)")
    .option("--group <name>", "a group that it is in (can be repeated)", append, [])
    .option("--ssh <target>", "how an administrator reaches it, user@address")
    .action((name: string, options) =>
      show(
        options,
        ({ context, fleet }) =>
          hostAdd(context, {
            fleet: fleet(),
            name,
            groups: options.group,
            ...given("key", options.key),
            ...given("keyFile", options.keyFile),
            ...given("path", options.path),
            ...given("ssh", options.ssh),
          }),
        (document, { paint }) => renderHostEdit(document, paint),
      ),
    );
  common(host.command("remove <name>"))
    .description("take a host's entry out of fleet.yaml")
    .action((name: string, options) =>
      show(
        options,
        ({ fleet }) => hostRemove({ fleet: fleet(), name }),
        (document, { paint }) => renderHostEdit(document, paint),
      ),
    );
}

function updateCopies(
  directory: string | undefined,
  options: CommonOptions & { take: string[]; dryRun: boolean },
): Promise<void> {
  return show(
    options,
    ({ context, fleet }) =>
      update(context, {
        fleet: directory === undefined ? fleet() : path.resolve(directory),
        take: options.take,
        dryRun: options.dryRun,
      }),
    (document, { paint, verbose }) => renderInitUpdate(document, paint, verbose),
  );
}
