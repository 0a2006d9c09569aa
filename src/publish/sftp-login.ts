import type { Client, ParsedKey } from "ssh2";

interface Protocol {
  authPK(user: string, key: ParsedKey, algorithm: string | undefined, sign?: Sign): void;
}
type Sign = (data: Buffer, done: (signature: Buffer) => void) => void;

/** The hashes of RSA signatures (RFC 8332); the other types of keys have only one. */
const HASHES: Readonly<Record<string, string>> = {
  "rsa-sha2-256": "sha256",
  "rsa-sha2-512": "sha512",
  "ssh-rsa": "sha1",
};

/**
 * ssh2 asks a server first whether it would take a key, and signs only then: that is for people with many keys, some of which
 * want a passphrase. Here there is one, which is open already, so the signature goes along with the question (RFC 4252, 7), and the
 * login takes a round trip less. To be called once the client has begun to connect.
 */
export function signAtOnce(client: Client): void {
  const { _protocol: protocol } = client as unknown as { _protocol?: Protocol };
  // It couldn't even begin, and says why by itself.
  if (protocol === undefined) return;
  const authPK = protocol.authPK.bind(protocol);
  protocol.authPK = (user, key, algorithm, sign) => {
    authPK(user, key, algorithm, sign ?? ((data, done) => done(signature(key, data, algorithm))));
  };
}

function signature(key: ParsedKey, data: Buffer, algorithm = ""): Buffer {
  const made = key.sign(data, HASHES[algorithm]);
  if (made instanceof Error) throw made;
  return made;
}
