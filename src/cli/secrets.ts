import type { Command } from "commander";
import { keygen } from "../commands/keygen.ts";
import { secretList } from "../commands/secret/list.ts";
import { secretRekey } from "../commands/secret/rekey.ts";
import { secretEdit, secretRemove, secretSet } from "../commands/secret.ts";
import { splitPatterns } from "../fleet/select.ts";
import { renderKeygen } from "../render/lists.ts";
import { renderSecretEdit, renderSecretList } from "../render/secret.ts";
import type { SecretEditDocument } from "../results.ts";
import { type CommonOptions, common, withHosts, withIdentity } from "./options.ts";
import { show } from "./session.ts";

/** `<host>` is what `--hosts` takes: a name, globs, or @groups, with commas between. */
export function addSecretCommands(bento: Command): void {
  const secret = bento
    .command("secret")
    .description("what hosts alone can read: passwords, keys, tokens")
    .exitOverride();
  const showEdit = (options: CommonOptions, work: Parameters<typeof show<SecretEditDocument>>[1]) =>
    show(options, work, (document, { paint }) => renderSecretEdit(document, paint));

  common(secret.command("set <host> <name>"))
    .description("encrypt a value to a host, or to several: from standard input, or asked for without showing it")
    .action((host: string, name: string, options) =>
      showEdit(options, ({ context, fleet }) =>
        secretSet(context, { fleet: fleet(), hosts: splitPatterns(host), name }),
      ),
    );
  withIdentity(common(secret.command("edit <host> <name>")))
    .description("open it in $EDITOR")
    .action((host: string, name: string, options) =>
      showEdit(options, ({ context, fleet }) =>
        secretEdit(context, { fleet: fleet(), hosts: splitPatterns(host), name, identities: options.identity }),
      ),
    );
  withHosts(common(secret.command("list [host]")))
    .description("what there is, and what has to be encrypted anew")
    .action((host: string | undefined, options) =>
      show(
        options,
        ({ fleet, hosts }) => secretList({ fleet: fleet(), hosts: host === undefined ? hosts : splitPatterns(host) }),
        (document, { paint }) => renderSecretList(document, paint),
      ),
    );
  withIdentity(withHosts(common(secret.command("rekey [host] [name]"))))
    .description("encrypt anew, after keys in fleet.yaml have changed")
    .action((host: string | undefined, name: string | undefined, options) =>
      showEdit(options, ({ context, fleet, hosts }) =>
        secretRekey(context, {
          fleet: fleet(),
          hosts: host === undefined ? hosts : splitPatterns(host),
          name: name ?? null,
          identities: options.identity,
        }),
      ),
    );
  common(secret.command("remove <host> <name>"))
    .description("remove its file")
    .action((host: string, name: string, options) =>
      showEdit(options, ({ fleet }) => secretRemove({ fleet: fleet(), hosts: splitPatterns(host), name })),
    );
}

/** The keys of the fleet itself. */
export function addKeygenCommand(bento: Command): void {
  common(bento.command("keygen <directory>"))
    .description("make the keys that sign and publish releases, or a binary cache's")
    .option("--cache <name>", "make the key that signs a binary cache, of this name: cache.example.org-1")
    .action((directory: string, options) =>
      show(
        options,
        ({ context }) => keygen(context, { directory, cache: options.cache ?? null }),
        (document) => renderKeygen(document),
      ),
    );
}
