import { readFileSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import {
  append,
  type CommonOptions,
  checkOptions,
  common,
  given,
  nixOptions,
  wholeNumber,
  withBase,
  withHosts,
  withIdentity,
  withNix,
  withSsh,
} from "./cli-options.ts";
import { bootstrap } from "./commands/bootstrap.ts";
import { build } from "./commands/build.ts";
import { check } from "./commands/check.ts";
import { completion } from "./commands/completion.ts";
import type { Context } from "./commands/context.ts";
import { deploy } from "./commands/deploy.ts";
import { diff } from "./commands/diff.ts";
import { flakeUpdate } from "./commands/flake-update.ts";
import { hostAdd, hostList, hostRemove } from "./commands/host.ts";
import { init } from "./commands/init.ts";
import { keygen } from "./commands/keygen.ts";
import { SECRETS } from "./commands/keys.ts";
import { plan } from "./commands/plan.ts";
import { push } from "./commands/push-host.ts";
import { render } from "./commands/render.ts";
import { report } from "./commands/report.ts";
import { rollback } from "./commands/rollback.ts";
import { secretEdit, secretList, secretRekey, secretRemove, secretSet } from "./commands/secret.ts";
import { serverCheck } from "./commands/server-check.ts";
import { sshConfig } from "./commands/ssh-config.ts";
import { status, statusOptions } from "./commands/status.ts";
import { deliverStatus, type StatusOutlets } from "./commands/status-outlets.ts";
import { trigger } from "./commands/trigger.ts";
import { watch } from "./commands/watch.ts";
import { commandLine } from "./completion/model.ts";
import { parseDuration } from "./duration.ts";
import { BentoError, HostError } from "./errors.ts";
import { findFleet } from "./fleet/load.ts";
import { splitPatterns } from "./fleet/select.ts";
import { parseWave } from "./fleet/waves.ts";
import { onInterrupt } from "./platform/interrupt.ts";
import { terminalOutput } from "./platform/output.ts";
import { packageRoot } from "./platform/package.ts";
import { Screen } from "./platform/screen.ts";
import { renderCheck } from "./render/check.ts";
import { renderDeploy } from "./render/deploy.ts";
import { renderDiff } from "./render/diff.ts";
import { describeError } from "./render/failure.ts";
import { flakeUpdateMarkdown, renderFlakeUpdate } from "./render/flake-update.ts";
import { renderHostEdit, renderHostList, renderInit, renderKeygen, renderPlan, renderRender } from "./render/lists.ts";
import { renderPush } from "./render/push.ts";
import { renderSecretEdit, renderSecretList } from "./render/secret.ts";
import { renderServerCheck } from "./render/server-check.ts";
import { renderSshConfig } from "./render/ssh-config.ts";
import { renderHostStatus, renderStatus } from "./render/status.ts";
import { type Paint, painter } from "./render/terminal.ts";
import { renderTrigger } from "./render/trigger.ts";
import { exitStatus, type ResultDocument, type SecretEditDocument, type StatusDocument } from "./results.ts";

interface Session {
  context: Context;
  options: CommonOptions;
  paint: Paint;
  verbose: boolean;
  /** The fleet's directory. */
  fleet(): string;
  hosts: readonly string[];
}

function session(options: CommonOptions): Session {
  const verbose = options.verbose === true;
  const env = { ...process.env };
  // What is started (Nix, and with it the fleet's own code) inherits this process's environment, and has no use for the keys.
  for (const name of SECRETS) delete process.env[name];
  // `host add` has groups of its own, one option each.
  const group = typeof options.group === "string" ? options.group : undefined;
  return {
    context: { output: terminalOutput({ verbose }), signal: onInterrupt(), env, cwd: process.cwd() },
    options,
    paint: painterFor(process.stdout, options),
    verbose,
    fleet: () => (options.fleet === undefined ? findFleet(process.cwd()) : path.resolve(options.fleet)),
    hosts: [
      ...splitPatterns(options.hosts ?? (group === undefined ? env.NAME : undefined)),
      ...splitPatterns(group).map((group) => `@${group}`),
    ],
  };
}

/** Colours are for a terminal, and for somebody who doesn't mind them. */
function painterFor(stream: NodeJS.WriteStream, { color }: CommonOptions): Paint {
  return painter(color && !process.env.NO_COLOR && stream.isTTY === true);
}

/** Runs a command, prints its document, and sets the exit status; the one place where errors are printed. */
async function show<T extends ResultDocument>(
  options: CommonOptions,
  work: (session: Session) => Promise<T>,
  text: (document: T, session: Session) => string,
): Promise<void> {
  const run = session(options);
  try {
    const document = await work(run);
    run.context.output.done();
    const printed = options.json === true ? JSON.stringify(document, null, 2) : text(document, run);
    process.stdout.write(printed === "" || printed.endsWith("\n") ? printed : `${printed}\n`);
    process.exitCode = exitStatus(document);
  } catch (error) {
    run.context.output.done();
    process.stderr.write(`${describeError(error, painterFor(process.stderr, options))}\n`);
    process.exitCode = error instanceof BentoError ? error.exitStatus : 70;
  }
}

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

/** The command line: every command, with its options. */
export function program(): Command {
  const bento = new Command("bento")
    .description("Keeps a fleet of NixOS machines up to date from one git repository.")
    .version(JSON.parse(readFileSync(path.join(packageRoot(), "package.json"), "utf8")).version)
    .exitOverride()
    .addHelpText(
      "after",
      `
Exit status: 0 done; 1 a host failed, the others were processed; 2 the fleet or the arguments are wrong, nothing was
done; 3 a server or a tool could not be reached or run; 130 interrupted.
Environment: BENTO_SSH_KEY or BENTO_SSH_KEY_FILE, the publisher's private key; BENTO_SIGNING_KEY or
BENTO_SIGNING_KEY_FILE, the key that signs releases; BENTO_GIT_SSH_KEY or BENTO_GIT_SSH_KEY_FILE, the key to push
releases to a git remote with, where git itself has none; BENTO_CACHE_KEY or BENTO_CACHE_KEY_FILE, the key that signs
what was built; BENTO_MEMORY_KEY, a secret text: only evaluations that were remembered with it are believed;
BENTO_EVALUATIONS, where they are; NAME, as --hosts; NO_COLOR.`,
    );

  common(bento.command("init [directory]"))
    .description("make a fleet: fleet.yaml, utils/, hosts/ and workflows")
    .option("--server <address>", "the server that hosts will poll")
    .option("--port <number>", "its ssh port", wholeNumber, 22)
    .option("--host-key <key>", "a public host key of the server's, to pin (can be repeated)", append, [])
    .option("--keys <directory>", "where bento keygen left its keys")
    .action((directory: string | undefined, options) =>
      show(
        options,
        ({ context }) =>
          init(context, {
            directory: directory ?? options.fleet ?? ".",
            server: options.server ?? null,
            port: options.port,
            hostKeys: options.hostKey,
            keys: options.keys ?? null,
          }),
        (document, { paint }) => renderInit(document, paint),
      ),
    );

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

  addReachCommands(bento);
  addSecretCommands(bento);

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

  withBase(withNix(withHosts(common(bento.command("check")))))
    .description("dry-build every host: evaluate it, and say what would be built and fetched")
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          check(context, { fleet: fleet(), hosts, ...checkOptions(options), ...nixOptions(options) }),
        (document, { paint, verbose }) => renderCheck(document, paint, verbose),
      ),
    );

  withNix(withHosts(common(bento.command("plan"))))
    .description("divide the hosts: among several machines, for check --shard, and in time, for deploy --wave")
    .option("--shards <number>", "among how many machines, at most", wholeNumber)
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          plan(context, {
            fleet: fleet(),
            hosts,
            shards: options.shards ?? null,
            dirty: false,
            ...nixOptions(options),
          }),
        (document, { paint }) => renderPlan(document, paint),
      ),
    );

  common(bento.command("report <files...>"))
    .description("show the documents of check --shard --json as one")
    .action((files: string[], options) =>
      show(
        options,
        ({ context }) => report(context, { files }),
        (document, { paint, verbose }) => renderCheck(document, paint, verbose),
      ),
    );

  withBase(withNix(withHosts(common(bento.command("build")))))
    .description("build every host, and keep the results alive")
    .option("--roots <directory>", "where the gc roots are (default: below $XDG_STATE_HOME/bento/roots)")
    .option("--sign-key <file>", "sign what was built with this key of the cache's (default: BENTO_CACHE_KEY)")
    .option("--push [url]", "copy it to this Nix store (default: cache.push of fleet.yaml)")
    .option("--prune", "of each host, keep only the last three systems and the one that it runs", false)
    .option("--logs <directory>", "where the logs of failed builds are put (default: $XDG_STATE_HOME/bento/logs)")
    .action((options) =>
      show(
        options,
        ({ context, fleet, hosts }) =>
          build(context, {
            fleet: fleet(),
            hosts,
            ...checkOptions(options),
            roots: options.roots === undefined ? null : path.resolve(options.roots),
            signKey: options.signKey === undefined ? null : path.resolve(options.signKey),
            push: options.push ?? null,
            prune: options.prune,
            logs: options.logs === undefined ? null : path.resolve(options.logs),
            ...nixOptions(options),
          }),
        (document, { paint }) => renderCheck(document, paint, true),
      ),
    );

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

  common(bento.command("completion <shell>"))
    .description("print what completes this command line in bash, zsh or fish: source <(bento completion bash)")
    .action((shell: string, options) =>
      show(
        options,
        ({ fleet }) => completion({ shell, line: commandLine(bento), fleet }),
        ({ text }) => text,
      ),
    );
  return bento;
}

/** What goes to the hosts themselves, over ssh. */
function addReachCommands(bento: Command): void {
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

/** `<host>` is what `--hosts` takes: a name, globs, or @groups, with commas between. */
function addSecretCommands(bento: Command): void {
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
