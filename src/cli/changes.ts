import type { Command } from "commander";
import { diff } from "../commands/diff.ts";
import { flakeUpdate } from "../commands/flake-update.ts";
import { splitPatterns } from "../fleet/select.ts";
import { renderDiff } from "../render/diff.ts";
import { flakeUpdateMarkdown, renderFlakeUpdate } from "../render/flake-update.ts";
import { common, nixOptions, withHosts, withNix } from "./options.ts";
import { show } from "./session.ts";

/** Which versions hosts would get. */
export function addChangeCommands(bento: Command): void {
  withNix(common(bento.command("diff [host...]")))
    .description("say which packages would be others than those that hosts run, if this commit were deployed")
    .option("--base <ref>", "compare with this commit, rather than with what hosts run")
    .option("--dirty", "take in what git doesn't track", false)
    .action((hosts: string[], options) =>
      show(
        options,
        ({ context, fleet }) =>
          diff(context, {
            fleet: fleet(),
            hosts: hosts.flatMap(splitPatterns),
            base: options.base ?? null,
            dirty: options.dirty,
            ...nixOptions(options),
          }),
        (document, { paint, verbose }) => renderDiff(document, paint, verbose),
      ),
    );

  withNix(withHosts(common(bento.command("flake-update [inputs...]"))))
    .description("bring the locks of the fleet's flakes up to date, and say what moved")
    .option("--dry-run", "say what would move, and write nothing", false)
    .option("--markdown", "print it as markdown, for a pull request", false)
    .action((inputs: string[], options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          flakeUpdate(context, { fleet: fleet(), hosts, inputs, dryRun: options.dryRun, ...nixOptions(options) }),
        (document, { paint, verbose }) =>
          options.markdown === true ? flakeUpdateMarkdown(document) : renderFlakeUpdate(document, paint, verbose),
      ),
    );
}
