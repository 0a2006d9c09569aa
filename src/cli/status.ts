import type { Command } from "commander";
import { statusOptions } from "../commands/status/arguments.ts";
import { deliverStatus, type StatusOutlets } from "../commands/status/outlets.ts";
import { watch } from "../commands/status/watch.ts";
import { status } from "../commands/status.ts";
import { parseDuration } from "../duration.ts";
import { HostError } from "../errors.ts";
import { Screen } from "../platform/screen.ts";
import { renderHostStatus, renderStatus } from "../render/status.ts";
import type { StatusDocument } from "../results.ts";
import { type CommonOptions, common, withHosts } from "./options.ts";
import { show } from "./session.ts";

interface StatusFlags extends CommonOptions, StatusOutlets {
  host?: string;
  log?: true;
  watch?: true;
  interval: string;
  failOn?: string;
}

async function statusAction(options: StatusFlags): Promise<void> {
  const now = () => Date.now();
  await show(
    options,
    async ({ context, fleet, hosts, paint }) => {
      const asked = statusOptions(fleet(), hosts, options);
      const deliver = (document: StatusDocument) => deliverStatus(context, document, asked.fleet, options);
      if (options.watch !== true) {
        const document = withLog(await status(context, asked), options);
        await deliver(document);
        return document;
      }
      const screen = new Screen(process.stdout);
      return await watch(context, asked, { screen, paint, interval: parseDuration(options.interval), deliver });
    },
    (document, { paint }) => {
      // Each line of what there was to see is there already.
      if (options.watch && !process.stdout.isTTY) return "";
      const [host] = document.hosts;
      if (options.host === undefined || host === undefined) return renderStatus(document, paint, now());
      if (options.log) return host.log ?? "";
      return renderHostStatus(host, paint, now());
    },
  );
}

/** @throws HostError when there is no log to show. */
function withLog(document: StatusDocument, { log }: StatusFlags): StatusDocument {
  const [host] = document.hosts;
  if (!log || host?.log !== null) return document;
  throw new HostError(
    `no log of ${host.name} is at the server: ${host.reason ?? `it is ${host.state.replaceAll("-", " ")}`}`,
  );
}

/** What hosts have reported. */
export function addStatusCommand(bento: Command): void {
  withHosts(common(bento.command("status")))
    .description("say how each host is, from what it reported")
    .option("--host <name>", "one host, and what became of its last attempts")
    .option("--log", "with --host: the log of its newest attempt, and nothing else")
    .option(
      "--watch",
      "go on looking: a table that stays up to date, or elsewhere than on a terminal a line for each change",
    )
    .option("--interval <duration>", "with --watch: how long to wait between two looks, such as 30s or 5m", "10s")
    .option("--html <directory>", "write the fleet as one HTML page there, index.html, with histories and logs")
    .option("--metrics <file>", "write the fleet for Prometheus there, e.g. for node_exporter's textfile collector")
    .option("--notify <command>", "run it for each host that got into trouble, or out of it, since the last time")
    .option("--notify-state <file>", "where it is remembered what was told (default: below $XDG_STATE_HOME/bento)")
    .option(
      "--fail-on <states>",
      "the states that make the exit status 1, with commas between, or none (default: those in which somebody has to look)",
    )
    .action((options) => statusAction(options));
}
