import type { Command } from "commander";
import { deploy } from "../commands/deploy.ts";
import { rollback } from "../commands/rollback.ts";
import { parseDuration } from "../duration.ts";
import { parseWave } from "../fleet/waves.ts";
import { renderDeploy } from "../render/deploy.ts";
import { common, nixOptions, withHosts, withNix } from "./options.ts";
import { show } from "./session.ts";

/** What hosts get, or get again. */
export function addDeployCommands(bento: Command): void {
  withNix(withHosts(common(bento.command("deploy"))))
    .description("publish the releases of the hosts that changed")
    .option("--dry-run", "say what would be published, and do nothing", false)
    .option("--force", "publish also what is older than, or can't be compared with, what is published", false)
    .option("--no-eval", "ship the hosts' files without evaluating them")
    .option("--wave <n>", "only the n-th wave of fleet.yaml's rollout, once the waves before are well; or all")
    .option(
      "--wait <duration>",
      "how long to wait for another deploy, and for the waves before, such as 90s, 30m or 1h",
      "0",
    )
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          deploy(context, {
            fleet: fleet(),
            hosts,
            dryRun: options.dryRun,
            force: options.force,
            evaluate: options.eval,
            wave: options.wave === undefined ? null : parseWave(options.wave),
            wait: parseDuration(options.wait),
            ...nixOptions(options),
          }),
        (document, { paint, verbose }) => renderDeploy(document, paint, verbose),
      ),
    );

  withNix(common(bento.command("rollback <host>")))
    .description("publish what a host had before, as a new release")
    .option("--to <release>", "its sequence, or a commit (default: the release before the current one)")
    .option("--dry-run", "say what would be published, and do nothing", false)
    .option("--wait <duration>", "how long to wait for a deploy that is going on, such as 90s, 30m or 1h", "0")
    .action((name: string, options) =>
      show(
        options,
        ({ context, fleet }) =>
          rollback(context, {
            fleet: fleet(),
            host: name,
            to: options.to ?? null,
            dryRun: options.dryRun,
            wait: parseDuration(options.wait),
            ...nixOptions(options),
          }),
        (document, { paint, verbose }) => renderDeploy(document, paint, verbose),
      ),
    );
}
