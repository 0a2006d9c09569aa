import { FLEET_STATES, type HostStatus, type StatusDocument } from "../results.ts";

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [Labels, number];

/**
 * The fleet in Prometheus' text format (exposition format 0.0.4), as node_exporter's textfile collector reads it. Times are in
 * seconds since 1970.
 */
export function renderMetrics({ time, failOn, hosts }: StatusDocument): string {
  const perHost = (value: (host: HostStatus) => number | null): Sample[] =>
    hosts.flatMap((host) => {
      const number = value(host);
      return number === null || !Number.isFinite(number) ? [] : [[{ host: host.name }, number] as const];
    });
  const seconds = (text: string | null | undefined) => (text == null ? null : Date.parse(text) / 1000);
  return [
    family("bento_status_timestamp_seconds", "When this was so.", [[{}, Date.parse(time) / 1000]]),
    family(
      "bento_hosts",
      "Hosts in each state.",
      FLEET_STATES.map((state) => [{ state }, hosts.filter((host) => host.state === state).length]),
    ),
    family(
      "bento_host_state",
      "1 for the state that a host is in.",
      hosts.map(({ name, state, sync, health }) => [{ host: name, state, sync, health }, 1]),
    ),
    family(
      "bento_host_needs_attention",
      "Whether somebody has to look at a host.",
      perHost(({ state }) => Number(failOn.includes(state))),
    ),
    family(
      "bento_host_info",
      "What is published for a host, and which wave of the rollout it is in.",
      hosts.map(({ name, published, wave, agent }) => [
        { host: name, commit: published?.commit ?? "", wave: wave === null ? "" : String(wave), agent: agent ?? "" },
        1,
      ]),
    ),
    family(
      "bento_host_last_contact_timestamp_seconds",
      "When a host was last heard of, by the server's clock.",
      perHost(({ lastContact }) => seconds(lastContact)),
    ),
    family(
      "bento_host_published_timestamp_seconds",
      "When what is published for a host was made.",
      perHost(({ published }) => seconds(published?.issued)),
    ),
    family(
      "bento_host_last_attempt_timestamp_seconds",
      "When a host's newest report came, by the server's clock.",
      perHost(({ attempted }) => seconds(attempted?.received)),
    ),
    family(
      "bento_host_last_attempt_duration_seconds",
      "How long a host's newest attempt took, as it says.",
      perHost(({ attempted }) => attempted?.duration ?? null),
    ),
  ].join("");
}

function family(name: string, help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([labels, value]) => `${name}${labelsText(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join("")}`;
}

function labelsText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.toWellFormed().replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
