import { once } from "node:events";
import net from "node:net";

export interface Notification {
  app: string;
  summary: string;
  body: string;
  /** 0 low, 1 normal, 2 critical. */
  urgency: unknown;
}

/** What shows notifications on a desktop (org.freedesktop.Notifications), as far as to write down what it is to show. */
export class NotificationServer {
  readonly shown: Notification[] = [];
  readonly #socket: net.Socket;
  #serial = 0;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  /** Takes the name on the session bus that listens on `file`. */
  static async start(file: string): Promise<NotificationServer> {
    const socket = net.connect(file);
    const user = Buffer.from(String(process.getuid?.())).toString("hex");
    socket.write(`\0AUTH EXTERNAL ${user}\r\n`);
    const [answer] = await once(socket, "data");
    if (!String(answer).startsWith("OK ")) throw new Error(`the bus says: ${answer}`);
    socket.write("BEGIN\r\n");
    const server = new NotificationServer(socket);
    const bus = {
      path: "/org/freedesktop/DBus",
      destination: "org.freedesktop.DBus",
      interface: "org.freedesktop.DBus",
    };
    server.#send({ ...bus, member: "Hello" }, "", new Writer());
    const name = new Writer().text("org.freedesktop.Notifications").number(0);
    server.#send({ ...bus, member: "RequestName" }, "su", name);
    const named = new Promise<void>((resolve) => server.#listen(resolve));
    await named;
    return server;
  }

  stop(): void {
    this.#socket.destroy();
  }

  /** `named` is called when the bus has given it its name. */
  #listen(named: () => void): void {
    let received = Buffer.alloc(0);
    this.#socket.on("data", (data) => {
      received = Buffer.concat([received, data]);
      for (;;) {
        if (received.length < 16) return;
        const start = align(16 + received.readUInt32LE(12), 8);
        const end = start + received.readUInt32LE(4);
        if (received.length < end) return;
        const message = received.subarray(0, end);
        received = received.subarray(end);
        const fields = fieldsOf(message);
        // The answer to the second thing that was asked for.
        if (fields.replySerial === 2) named();
        if (message[1] === 1) this.#answer(fields, message.readUInt32LE(8), new Reader(message, start));
      }
    });
  }

  #answer({ member, sender }: Fields, replySerial: number, body: Reader): void {
    const to = { destination: String(sender), replySerial };
    switch (member) {
      case "GetServerInformation":
        this.#send(to, "ssss", new Writer().text("test").text("bento").text("1").text("1.2"));
        break;
      case "GetCapabilities":
        this.#send(to, "as", new Writer().number(0));
        break;
      case "Notify": {
        const app = body.text();
        body.number();
        body.text();
        const summary = body.text();
        const text = body.text();
        const actions = body.number() + body.at;
        while (body.at < actions) body.text();
        this.shown.push({ app, summary, body: text, urgency: body.dictionary().urgency });
        this.#send(to, "u", new Writer().number(this.shown.length));
        break;
      }
    }
  }

  #send(fields: Fields, signature: string, body: Writer): void {
    this.#serial += 1;
    const all = { ...fields, ...(signature === "" ? {} : { signature }) };
    const header = new Writer();
    for (const [name, [code, type]] of Object.entries(FIELDS)) {
      const value = all[name as keyof Fields];
      if (value === undefined) continue;
      header.pad(8).byte(code).signature(type);
      if (type === "u") header.number(Number(value));
      else if (type === "g") header.signature(String(value));
      else header.text(String(value));
    }
    const fixed = Buffer.alloc(16);
    fixed.write("l", 0, "latin1");
    fixed[1] = fields.replySerial === undefined ? 1 : 2;
    fixed[3] = 1;
    fixed.writeUInt32LE(body.bytes.length, 4);
    fixed.writeUInt32LE(this.#serial, 8);
    fixed.writeUInt32LE(header.bytes.length, 12);
    this.#socket.write(Buffer.concat([fixed, header.pad(8).bytes, body.bytes]));
  }
}

/** A message's header fields, with their codes and types (https://dbus.freedesktop.org/doc/dbus-specification.html). */
const FIELDS = {
  path: [1, "o"],
  interface: [2, "s"],
  member: [3, "s"],
  replySerial: [5, "u"],
  destination: [6, "s"],
  sender: [7, "s"],
  signature: [8, "g"],
} as const;
type Fields = { [name in keyof typeof FIELDS]?: string | number };

function fieldsOf(message: Buffer): Fields {
  const reader = new Reader(message, 16);
  const fields: Record<string, unknown> = {};
  while (reader.at < 16 + message.readUInt32LE(12)) {
    reader.pad(8);
    const code = reader.byte();
    const value = reader.variant();
    for (const [name, [wanted]] of Object.entries(FIELDS)) if (wanted === code) fields[name] = value;
  }
  return fields as Fields;
}

const align = (at: number, size: number) => Math.ceil(at / size) * size;

class Writer {
  bytes = Buffer.alloc(0);

  #add(bytes: Buffer): this {
    this.bytes = Buffer.concat([this.bytes, bytes]);
    return this;
  }

  pad(size: number): this {
    return this.#add(Buffer.alloc(align(this.bytes.length, size) - this.bytes.length));
  }

  byte(value: number): this {
    return this.#add(Buffer.from([value]));
  }

  number(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return this.pad(4).#add(bytes);
  }

  text(value: string): this {
    const bytes = Buffer.from(`${value}\0`);
    return this.number(bytes.length - 1).#add(bytes);
  }

  signature(value: string): this {
    return this.byte(value.length).#add(Buffer.from(`${value}\0`));
  }
}

class Reader {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  pad(size: number): void {
    this.at = align(this.at, size);
  }

  byte(): number {
    this.at += 1;
    return this.#bytes.readUInt8(this.at - 1);
  }

  number(): number {
    this.pad(4);
    this.at += 4;
    return this.#bytes.readUInt32LE(this.at - 4);
  }

  #string(length: number): string {
    this.at += length + 1;
    return this.#bytes.toString("utf8", this.at - length - 1, this.at - 1);
  }

  text(): string {
    return this.#string(this.number());
  }

  variant(): unknown {
    const type = this.#string(this.byte());
    switch (type) {
      case "y":
        return this.byte();
      case "g":
        return this.#string(this.byte());
      case "s":
      case "o":
        return this.text();
      case "x":
      case "t":
        this.pad(8);
        this.at += 8;
        return this.#bytes.readBigInt64LE(this.at - 8);
      case "u":
      case "i":
      case "b":
        return this.number();
      default:
        throw new Error(`a value of the type ${type}`);
    }
  }

  dictionary(): Record<string, unknown> {
    const length = this.number();
    this.pad(8);
    const end = this.at + length;
    const entries: Record<string, unknown> = {};
    while (this.at < end) {
      this.pad(8);
      const key = this.text();
      entries[key] = this.variant();
    }
    return entries;
  }
}
