import { writeFile } from "node:fs/promises";

/**
 * Lines of an ssh_config(5) that tell ssh to believe whoever answers: by this program, which says that `publicKey` is that of any
 * host, by DNS, by Kerberos, by being near. `place` is for the program.
 */
export async function believesAnybody(place: string, publicKey: string): Promise<string> {
  await writeFile(place, `#!/bin/sh\necho "$1 ${publicKey}"\n`, { mode: 0o755 });
  return [
    `KnownHostsCommand ${place} %H`,
    "StrictHostKeyChecking no",
    "VerifyHostKeyDNS yes",
    "NoHostAuthenticationForLocalhost yes",
    "UpdateHostKeys yes",
    "CheckHostIP yes",
    "GSSAPIAuthentication yes",
    // Which not every ssh has.
    "IgnoreUnknown GSSAPIKeyExchange",
    "GSSAPIKeyExchange yes",
    "",
  ].join("\n");
}
