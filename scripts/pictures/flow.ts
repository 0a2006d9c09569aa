// How a change comes to the machines: the README's picture, as an SVG in GitHub's colours.

interface Colours {
  panel: string;
  box: string;
  line: string;
  text: string;
  dim: string;
  accent: string;
}

const COLOURS: Readonly<Record<"light" | "dark", Colours>> = {
  light: { panel: "#f6f8fa", box: "#ffffff", line: "#d1d9e0", text: "#1f2328", dim: "#59636e", accent: "#0969da" },
  dark: { panel: "#151b23", box: "#0d1117", line: "#3d444d", text: "#f0f6fc", dim: "#9198a1", accent: "#4493f8" },
};

const WIDTH = 960;
const HEIGHT = 392;
/** Each column: where it begins, and how wide it is. */
const FLEET = { x: 8, width: 148 };
const RUNNER = { x: 236, width: 184 };
const SERVER = { x: 498, width: 174 };
const HOST = { x: 744, width: 208 };
type Column = typeof FLEET;

const TITLE = "How a change comes to the machines";
const DESCRIPTION =
  "A pull request in the fleet's git repository is checked by bento check on a CI runner, which dry-builds every host and reports. " +
  "A merge has bento deploy put each host's signed release on an sftp server, where every host has a chroot of its own. " +
  "Each host polls it, verifies signature and digest, builds, activates under a guard, and confirms that it still reaches the server; " +
  "then it makes the system its boot default, or puts the old one back, and reports. bento status reads the reports.";

const SANS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif";
const MONO = "ui-monospace, SFMono-Regular, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";

export function flow(scheme: "light" | "dark"): string {
  const { panel, box, line, text, dim, accent } = COLOURS[scheme];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-labelledby="title description">
<title id="title">${TITLE}</title>
<desc id="description">${DESCRIPTION}</desc>
<style>
  text { font: 12.5px ${SANS}; fill: ${dim} }
  .title { font-weight: 600; font-size: 14px; fill: ${text} }
  .name { font: 600 12.5px ${MONO}; fill: ${text} }
  .label { font-size: 12px; text-anchor: middle }
  .panel { fill: ${panel}; stroke: ${line} }
  .box { fill: ${box}; stroke: ${line} }
  .arrow { fill: none; stroke: ${accent}; stroke-width: 1.6; marker-end: url(#head) }
  #head path { fill: ${accent} }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>
${[
  column(FLEET, "fleet repository", "git"),
  part(FLEET, 76, 118, "fleet.yaml", ["hosts/router/", "hosts/nas/", "utils/", "secrets/"]),
  column(RUNNER, "CI runner", "GitHub, Forgejo, or you"),
  part(RUNNER, 76, 74, "bento check", ["dry-builds every host,", "errors at file and line"]),
  part(RUNNER, 180, 74, "bento deploy", ["signs what changed,", "wave by wave"]),
  part(RUNNER, 300, 74, "bento status", ["the fleet at a glance;", "silence is never green"]),
  column(SERVER, "server", "sftp, a chroot per host"),
  part(SERVER, 180, 74, "HOST/releases", ["only the host's own,", "the last five"]),
  part(SERVER, 300, 74, "HOST/reports", ["what it says of itself,", "with its logs"]),
  column(HOST, "each host", "begins every connection"),
  part(HOST, 76, 298, "bento-upgrade.timer", []),
  ...HOST_STEPS.map(([first, second], index) => step(index, first, second)),
  arrow(FLEET, RUNNER, 104, "pull request"),
  arrow(RUNNER, FLEET, 132, "", "report"),
  `<path class="arrow" d="M82 194V217H${RUNNER.x + 6}"/>${label((FLEET.x + FLEET.width + RUNNER.x) / 2, 210, "merge")}`,
  arrow(RUNNER, SERVER, 217, "signed", "releases"),
  arrow(SERVER, HOST, 217, "poll"),
  arrow(HOST, SERVER, 337, "report"),
  arrow(SERVER, RUNNER, 337, "", ""),
].join("\n")}
</svg>
`;
}

const HOST_STEPS = [
  ["verify", "signature, sequence, digest"],
  ["build", "with Nix, or from a cache"],
  ["activate", "the old system on guard"],
  ["confirm", "server reached three times"],
  ["commit, or put back", "and report"],
] as const;

function column({ x, width }: Column, title: string, subtitle: string): string {
  return `<g><rect class="panel" x="${x}" y="8" width="${width}" height="${HEIGHT - 10}" rx="8"/>
<text class="title" x="${x + 14}" y="34">${title}</text><text x="${x + 14}" y="54">${subtitle}</text></g>`;
}

/** A box in a column, with what it is called and what is said of it. */
function part({ x, width }: Column, y: number, height: number, name: string, lines: readonly string[]): string {
  const left = x + 18;
  const texts = lines.map((text, index) => `<text x="${left}" y="${y + 42 + index * 18}">${text}</text>`);
  return `<g><rect class="box" x="${x + 8}" y="${y}" width="${width - 16}" height="${height}" rx="6"/>
<text class="name" x="${left}" y="${y + 22}">${name}</text>${texts.join("")}</g>`;
}

/** One of the things that a host does, one after the other. */
function step(index: number, what: string, how: string): string {
  const y = 126 + index * 51;
  const left = HOST.x + 18;
  const next = index < HOST_STEPS.length - 1 ? `<path class="arrow" d="M${left + 6} ${y + 25}v8"/>` : "";
  return `<g><text class="name" x="${left}" y="${y}">${what}</text><text x="${left}" y="${y + 17}">${how}</text></g>${next}`;
}

/** From a box of one column to one of another, at a height, with what is said above and below it. */
function arrow(from: Column, to: Column, y: number, above: string, below = ""): string {
  const [start, end] = from.x < to.x ? [from.x + from.width - 6, to.x + 6] : [from.x + 6, to.x + to.width - 6];
  const middle = (start + end) / 2;
  return `<path class="arrow" d="M${start} ${y}H${end}"/>${label(middle, y - 7, above)}${label(middle, y + 17, below)}`;
}

function label(x: number, y: number, text: string): string {
  return text === "" ? "" : `<text class="label" x="${x}" y="${y}">${text}</text>`;
}
