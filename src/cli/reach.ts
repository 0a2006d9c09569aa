import path from "node:path";
import type { Command } from "commander";
import type { Context } from "../commands/context.ts";
import { push } from "../commands/push.ts";
import { sshConfig } from "../commands/ssh-config.ts";
import { trigger } from "../commands/trigger.ts";
import { parseDuration } from "../duration.ts";
import { splitPatterns } from "../fleet/select.ts";
import { renderPush } from "../render/push.ts";
import { renderSshConfig } from "../render/ssh-config.ts";
import { renderTrigger } from "../render/trigger.ts";
import { common, nixOptions, withHosts, withNix, withSsh } from "./options.ts";
import { show } from "./session.ts";

/** What goes to the hosts themselves, over ssh. */
export function addReachCommands(bento: Command): void {
  withHosts(common(bento.command("ssh-config")))
    .description("print an ssh_config of the hosts, to be included in one's own")
    .option("--output <file>", "write it to this file")
    .option(
      "--known-hosts <file>",
      "write the hosts' keys of fleet.yaml to this file, and take them for their ssh host keys",
    )
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          sshConfig(context, {
            fleet: fleet(),
            hosts,
            output: options.output ?? null,
            knownHosts: options.knownHosts ?? null,
          }),
        (document, { paint }) => renderSshConfig(document, options.output !== undefined, paint),
      ),
    );

  withSsh(common(bento.command("trigger <host...>")))
    .description("have hosts upgrade now, over ssh, and follow what they do")
    .action((hosts: string[], options) =>
      show(
        options,
        ({ context, fleet }) =>
          trigger(context, { fleet: fleet(), hosts: hosts.flatMap(splitPatterns), ...sshOptionsOf(context, options) }),
        (document, { paint }) => renderTrigger(document, paint),
      ),
    );

  withSsh(withNix(common(bento.command("push <host>"))))
    .description("give one host its release now: build it here, copy it there, publish it, and follow the upgrade")
    .option("--force", "publish also what is older than, or can't be compared with, what is published", false)
    .option("--wait <duration>", "how long to wait for a deploy that is going on, such as 90s, 30m or 1h", "0")
    .action((name: string, options) =>
      show(
        options,
        ({ context, fleet }) =>
          push(context, {
            fleet: fleet(),
            host: name,
            force: options.force,
            wait: parseDuration(options.wait),
            ...nixOptions(options),
            ...sshOptionsOf(context, options),
          }),
        (document, { paint, verbose }) => renderPush(document, paint, verbose),
      ),
    );
}

function sshOptionsOf({ cwd }: Context, options: { sshConfig?: string; patience: string }) {
  const config = options.sshConfig === undefined ? null : path.resolve(cwd, options.sshConfig);
  return {
    ssh: { config, interactive: process.stdin.isTTY === true },
    patience: parseDuration(options.patience),
  };
}
