/** What `bento init` may fill in. */
export interface NewFleet {
  server: { address: string; port: number; hostKeys: readonly string[] } | null;
  publishers: readonly string[];
  signers: readonly string[];
}

/** The text of a new fleet.yaml: what is known is filled in, and the rest stands there as a comment. */
export function fleetTemplate({ server, publishers, signers }: NewFleet): string {
  const block = [
    "server:",
    `  address: ${text(server?.address ?? "fleet.example.org")}`,
    `  port: ${server?.port ?? 22}`,
    "  # Pinned: the server's /etc/ssh/ssh_host_ed25519_key.pub, copied by hand. Nothing ever asks the network for it.",
    ...list("  hostKeys", server?.hostKeys ?? [], "ssh-ed25519 AAAA…"),
    "  # Who may publish: the public key that bento keygen called 'publisher'.",
    ...list("  publishers", publishers, "ssh-ed25519 AAAA… publisher"),
  ];
  return `${[
    "# The fleet: where its releases go, who signs them, and its hosts. After a change: bento render",
    "",
    "# The SFTP server that hosts poll.",
    ...(server === null ? block.map((line) => `# ${line}`) : block),
    "",
    "# Whose releases hosts accept: the public key that bento keygen called 'signing'.",
    ...list("signers", signers, "ssh-ed25519 AAAA… signing"),
    "",
    "# Who can edit every host's secrets (bento secret), by their ssh keys.",
    `# administrators: [ ${text("ssh-ed25519 AAAA… you")} ]`,
    "",
    "# One entry for each host: bento host add NAME --key 'ssh-ed25519 AAAA…'",
    "hosts: {}",
  ].join("\n")}\n`;
}

function list(key: string, values: readonly string[], example: string): string[] {
  if (values.length === 0) return [`${key}: [] # [ ${text(example)} ]`];
  const indent = key.replace(/\S.*/, "");
  return [`${key}:`, ...values.map((value) => `${indent}  - ${text(value)}`)];
}

/** JSON's strings are YAML's. */
function text(value: string): string {
  return JSON.stringify(value);
}
