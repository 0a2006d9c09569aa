import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { KeyPair } from "./keys.ts";
import { Sshd } from "./sshd.ts";

/** What lets somebody in as root. */
export interface RootLogin {
  hostKey: KeyPair;
  /** Whose key it takes. */
  key: KeyPair;
  /** A shell script that runs instead of whatever is asked for, which is in SSH_ORIGINAL_COMMAND. */
  script: string;
}

/** A real sshd on loopback for one key, which does as root what `script` makes of it. All of it is in `dir`, which is there. */
export async function startRootSshd(dir: string, login: RootLogin, env: Record<string, string> = {}): Promise<Sshd> {
  await writeFile(path.join(dir, "login"), login.script, { mode: 0o755 });
  await writeFile(path.join(dir, "authorized_keys"), `${login.key.publicKey}\n`);
  const settings = [
    "ListenAddress 127.0.0.1",
    `HostKey ${login.hostKey.file}`,
    `AuthorizedKeysFile ${path.join(dir, "authorized_keys")}`,
    `ForceCommand ${path.join(dir, "login")}`,
    `PidFile ${path.join(dir, "pid")}`,
    "PermitRootLogin yes",
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
  ];
  await writeFile(path.join(dir, "sshd_config"), `${settings.join("\n")}\n`);
  const sshd = new Sshd(path.join(dir, "sshd_config"), env);
  await sshd.start();
  return sshd;
}
