import type { Client, ParsedKey } from "ssh2";

/** What ssh2 sends by. */
interface Protocol {
  _handlers: { SERVICE_ACCEPT?: (protocol: Protocol, name: string) => void };
  service(name: string): void;
  authPK(user: string, key: ParsedKey, algorithm: string | undefined, sign?: Sign): void;
  subsystem(channel: number, name: string, wantReply?: boolean): void;
  channelData(channel: number, data: Buffer): void;
}
type Sign = (data: Buffer, done: (signature: Buffer) => void) => void;

/** The first words of SFTP: one byte SSH_FXP_INIT, and the version, which is 3 for all. */
const SFTP_INIT = Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3]);

/**
 * Logs in with three round trips less than ssh2 takes by itself, which waits for answers that can only be one thing: that there is
 * such a thing as a login, that the only key may be tried, and that the subsystem begins. When an answer is another one, all
 * ends as it would have without. To be called once the client has begun to connect.
 */
export function hurryLogin(client: Client): void {
  const { _protocol: protocol } = client as unknown as { _protocol?: Protocol };
  // It couldn't even begin, and says why by itself.
  if (protocol === undefined) return;
  loginAtOnce(protocol);
  signAtOnce(protocol);
  speakAtOnce(protocol);
}

/** The request to log in goes along with the one for the service of logins (RFC 4253, 10), which no server is without. */
function loginAtOnce(protocol: Protocol): void {
  const service = protocol.service.bind(protocol);
  protocol.service = (name) => {
    service(name);
    const { _handlers: handlers } = protocol;
    const { SERVICE_ACCEPT: login } = handlers;
    handlers.SERVICE_ACCEPT = () => {};
    login?.(protocol, name);
  };
}

/** The signature goes along with the key (RFC 4252, 7). To ask first is for people with many keys, of which some want a passphrase. */
function signAtOnce(protocol: Protocol): void {
  const authPK = protocol.authPK.bind(protocol);
  protocol.authPK = (user, key, algorithm, sign) => {
    // Which signatures of RSA the server takes it may not have said yet; this one every OpenSSH does since 7.2 (RFC 8332).
    const isRsa = key.type === "ssh-rsa";
    const signIt: Sign = (data, done) => {
      const signature = key.sign(data, isRsa ? "sha256" : undefined);
      if (signature instanceof Error) throw signature;
      done(signature);
    };
    authPK(user, key, isRsa ? "rsa-sha2-256" : algorithm, sign ?? signIt);
  };
}

/** The first words of SFTP go along with the request for it, and are left out when ssh2 says them. */
function speakAtOnce(protocol: Protocol): void {
  const subsystem = protocol.subsystem.bind(protocol);
  protocol.subsystem = (channel, name, wantReply) => {
    subsystem(channel, name, wantReply);
    protocol.channelData(channel, SFTP_INIT);
    const { channelData } = protocol;
    protocol.channelData = (to, data) => {
      protocol.channelData = channelData;
      if (to !== channel || !data.equals(SFTP_INIT)) protocol.channelData(to, data);
    };
  };
}
