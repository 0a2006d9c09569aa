import type { Command } from "commander";
import { bootstrap } from "../commands/bootstrap.ts";
import { serverCheck } from "../commands/server-check.ts";
import { renderServerCheck } from "../render/server-check.ts";
import { common } from "./options.ts";
import { show } from "./session.ts";

/** Machines that are set up: the server, and those that come into the fleet. */
export function addMachineCommands(bento: Command): void {
  const server = bento.command("server").description("the fleet's server").exitOverride();
  common(server.command("check"))
    .description("say what is wrong with the server, as far as the publisher can see it")
    .action((options) =>
      show(
        options,
        ({ context, fleet }) => serverCheck(context, { fleet: fleet() }),
        (document, { paint }) => renderServerCheck(document, paint),
      ),
    );

  common(bento.command("bootstrap <host>"))
    .description("print the script that brings a machine into the fleet: bento bootstrap HOST | ssh root@MACHINE sh")
    .option("--new", "for a machine that has no key in fleet.yaml yet: the script prints what to enter there")
    .action((name: string, options) =>
      show(
        options,
        ({ fleet }) => bootstrap({ fleet: fleet(), host: name, isNew: options.new === true }),
        (document) => document.hosts.map(({ script }) => script).join(""),
      ),
    );
}
