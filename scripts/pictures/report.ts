import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import { summary } from "../../src/render/summary.ts";
import type { CheckDocument } from "../../src/results.ts";
import { FleetRepository } from "../../test/support/fleet.ts";
import { exec } from "../../test/support/programs.ts";
import { makeStore } from "../../test/support/store.ts";

/** Public keys that nobody has the other half of. */
const KEYS = [
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIUZOYdsHiPCN34H2mzuQ01j2h0LAR55wRQBCM3pJ/l",
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICEEjf6V82GL9wTc3dDkKYjPJt8HUemFKRRDObQs1jAu",
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFXpynW6oN2Ifl3cSc3XMDIsajOSAzX5pzaZQKehz4Dt",
] as const;

/** What `bento check` reports, as Markdown, of a pull request that changes one host and breaks another. `dir` is its place to work. */
export async function report(dir: string): Promise<string> {
  const store = await makeStore(dir);
  const [host, publisher, signer] = KEYS;
  const fleet = await FleetRepository.make(path.join(dir, "fleet"), store, {
    server: { address: "fleet.example.org", hostKeys: [host], publishers: [publisher] },
    signers: [signer],
    keys: {},
  });
  await fleet.edit("hosts/nas/configuration.nix", "[ pkgs.postgresql ]", "[ pkgs.postgresql pkgs.curl ]");
  await fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.ngnix");
  await fleet.commit("nas gets curl");
  const cli = path.join(packageRoot(), "dist/cli.js");
  const { stdout, stderr } = await exec(process.execPath, [cli, "check", "--base", "HEAD~1", "--json"], {
    cwd: fleet.dir,
    env: store.env,
  });
  if (stdout === "") throw new Error(stderr);
  const document = JSON.parse(stdout) as CheckDocument;
  // The only thing in it that is another one each time.
  return summary({ ...document, base: "main" }, Date.now()).replaceAll(dir, "");
}
