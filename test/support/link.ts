import { once } from "node:events";
import net, { type AddressInfo } from "node:net";

/** Of a connection: `up` goes to the server, `down` comes from it. */
export type Direction = "up" | "down";

/** What becomes of a connection when so many bytes have passed: it ends, or it stays and nothing passes any more. */
export interface Trouble {
  bytes: number;
  how: "cut" | "silence";
}

export interface LinkOptions {
  /** Which connection it happens to; the first one unless told otherwise. */
  connection?: number;
  /** It ends when so many bytes have passed in that direction: the rest is lost, as are later ones. */
  cut?: { direction: Direction; bytes: number };
  /** It lets so many bytes pass to the server, and no more until `letGo`. */
  hold?: number;
  /** Whoever is connected is answered only when the server has been silent for so many milliseconds: see `flights`. */
  lockstep?: number;
  /** Every byte takes so many milliseconds, in each direction. */
  delay?: number;
  /** No more than so many bytes pass in a second, in each direction of each connection. */
  rate?: number;
  /** By the number of the connection, from 1. */
  trouble?: (connection: number) => Trouble | undefined;
}

/** Something between a client and a server that can do to a connection what a network does. */
export class Link implements AsyncDisposable {
  /** Bytes that have passed, over all connections. */
  readonly passed = { up: 0, down: 0 };
  /** With `lockstep`, how often the client had to wait for answers before it said more. */
  flights = 0;
  connections = 0;
  /** How many connections had trouble. */
  troubled = 0;
  readonly #server: net.Server;
  readonly #target: number;
  readonly #options: LinkOptions;
  readonly #sockets = new Set<net.Socket>();
  readonly #held = Promise.withResolvers<void>();
  readonly #go = Promise.withResolvers<void>();

  private constructor(target: number, options: LinkOptions) {
    this.#target = target;
    this.#options = options;
    this.#server = net.createServer({ noDelay: true }, (client) => this.#connect(client));
  }

  static async to(target: number, options: LinkOptions = {}): Promise<Link> {
    const link = new Link(target, options);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Resolves when `hold` bytes have passed. */
  get held(): Promise<void> {
    return this.#held.promise;
  }

  letGo(): void {
    this.#go.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.letGo();
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #connect(client: net.Socket): void {
    this.connections += 1;
    const isMeant = this.connections === (this.#options.connection ?? 1);
    const server = net.connect({ host: "127.0.0.1", port: this.#target, noDelay: true });
    const end = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => this.#sockets.delete(socket));
    }
    const { cut, hold, lockstep, delay, rate, trouble } = this.#options;
    if (delay !== undefined || trouble !== undefined || rate !== undefined) {
      this.#pass(client, server, delay ?? 0, rate ?? Number.POSITIVE_INFINITY, trouble?.(this.connections));
      return;
    }
    const limit = (direction: Direction) =>
      isMeant && cut?.direction === direction ? cut.bytes : Number.POSITIVE_INFINITY;
    const answers: Buffer[] = [];
    let timer: NodeJS.Timeout | undefined;
    let isWaiting = false;
    const deliver = () => {
      isWaiting = true;
      for (const answer of answers.splice(0)) client.write(answer);
    };

    let up = 0;
    client.on("data", (data: Buffer) => {
      // What a client says before it has heard anything new is still the same flight.
      if (isWaiting || up === 0) this.flights += 1;
      isWaiting = false;
      const piece = data.subarray(0, limit("up") - up);
      up += data.length;
      this.passed.up += piece.length;
      server.write(piece);
      if (up >= limit("up")) {
        server.destroySoon();
        client.destroy();
      }
      if (isMeant && hold !== undefined && up >= hold) {
        client.pause();
        this.#held.resolve();
        this.#go.promise.then(() => client.resume());
      }
    });
    let down = 0;
    server.on("data", (data: Buffer) => {
      const piece = data.subarray(0, limit("down") - down);
      down += data.length;
      this.passed.down += piece.length;
      if (lockstep === undefined) client.write(piece);
      else {
        answers.push(piece);
        clearTimeout(timer);
        timer = setTimeout(deliver, lockstep);
      }
      if (down >= limit("down")) {
        client.destroySoon();
        server.destroy();
      }
    });
    client.on("end", () => server.end());
    server.on("end", () => {
      deliver();
      client.end();
    });
  }

  /** A line of a certain length and width, and perhaps a bad one. */
  #pass(client: net.Socket, server: net.Socket, delay: number, rate: number, trouble: Trouble | undefined): void {
    let passed = 0;
    let isTroubled = false;
    const after = (act: () => void) => setTimeout(act, delay).unref();
    const pass = (from: net.Socket, to: net.Socket, direction: Direction) => {
      from.on("data", (data: Buffer) => {
        if (isTroubled) return;
        const piece = data.subarray(0, (trouble?.bytes ?? Number.POSITIVE_INFINITY) - passed);
        passed += piece.length;
        this.passed[direction] += piece.length;
        after(() => to.writable && to.write(piece));
        if (Number.isFinite(rate)) {
          from.pause();
          setTimeout(() => from.resume(), (1000 * piece.length) / rate).unref();
        }
        if (trouble === undefined || passed < trouble.bytes) return;
        isTroubled = true;
        this.troubled += 1;
        if (trouble.how === "cut") {
          after(() => {
            from.destroy();
            to.destroySoon();
          });
        }
      });
      from.on("end", () => after(() => to.end()));
    };
    pass(client, server, "up");
    pass(server, client, "down");
  }
}
