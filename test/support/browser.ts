import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import axe from "axe-core";
import { familyOf, kill, type Running, start } from "./programs.ts";

interface Answer {
  id?: number;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/** A real Chromium without a window, told what to do by its own protocol (https://chromedevtools.github.io/devtools-protocol). */
export class Browser implements AsyncDisposable {
  readonly #profile: string;
  readonly #running: Running;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #last = 0;

  private constructor(profile: string, running: Running, socket: WebSocket) {
    this.#profile = profile;
    this.#running = running;
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const answer: Answer = JSON.parse(String(data));
      if (answer.id !== undefined) this.#waiting.get(answer.id)?.(answer);
    });
  }

  /** `options` are Chromium's. */
  static async launch(options: readonly string[] = []): Promise<Browser> {
    const profile = await mkdtemp(path.join(tmpdir(), "bento-browser-"));
    const running = start("chromium", [
      ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--no-proxy-server"],
      ...["--remote-debugging-port=0", `--user-data-dir=${profile}`, ...options],
      "about:blank",
    ]);
    if (!running.child.stderr) throw new Error("no stderr");
    const said: string[] = [];
    for await (const line of createInterface({ input: running.child.stderr })) {
      said.push(line);
      const [, url] = /^DevTools listening on (ws:\S+)$/.exec(line) ?? [];
      if (url === undefined) continue;
      const socket = new WebSocket(url);
      await once(socket, "open");
      return new Browser(profile, running, socket);
    }
    throw new Error(`chromium doesn't start:\n${said.join("\n")}`);
  }

  async open(url: string): Promise<Page> {
    const { targetId } = await this.send("Target.createTarget", {
      url: "about:blank",
      newWindow: true,
      width: 900,
      height: 800,
    });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, String(sessionId));
    await page.go(url);
    return page;
  }

  async send(method: string, params: object = {}, sessionId?: string): Promise<Record<string, unknown>> {
    this.#last += 1;
    const id = this.#last;
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }));
    const { result, error } = await answered;
    this.#waiting.delete(id);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result ?? {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    kill(familyOf(this.#running.pid));
    await this.#running.done;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** One tab. */
export class Page {
  readonly #browser: Browser;
  readonly #session: string;

  constructor(browser: Browser, session: string) {
    this.#browser = browser;
    this.#session = session;
  }

  #send(method: string, params?: object): Promise<Record<string, unknown>> {
    return this.#browser.send(method, params, this.#session);
  }

  /** Resolves when the page is loaded, or is known not to load. */
  async go(url: string): Promise<void> {
    const { errorText } = await this.#send("Page.navigate", { url });
    if (errorText !== undefined) throw new Error(`${url}: ${errorText}`);
    await this.waitFor("document.readyState === 'complete'");
  }

  /** The value of an expression, or what it promises. */
  async evaluate(expression: string): Promise<unknown> {
    const answer = await this.#send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(answer.exceptionDetails)}`);
    return (answer.result as { value?: unknown }).value;
  }

  /** The text of an element by its id. */
  async text(id: string): Promise<string> {
    return String(await this.evaluate(`document.getElementById(${JSON.stringify(id)}).textContent`));
  }

  /** Waits until an expression is true. */
  async waitFor(expression: string): Promise<void> {
    const deadline = Date.now() + 60_000;
    while ((await this.evaluate(expression)) !== true) {
      if (Date.now() > deadline) throw new Error(`still not true: ${expression}`);
      await sleep(50);
    }
  }

  /** As if the window had this size, in CSS pixels. */
  async resize(width: number, height: number, isPhone = false): Promise<void> {
    const metrics = { width, height, deviceScaleFactor: isPhone ? 2 : 1, mobile: isPhone };
    await this.#send("Emulation.setDeviceMetricsOverride", metrics);
  }

  /** Clicks with the mouse on an element. */
  async click(id: string): Promise<void> {
    const box = `(({ x, y, width, height }) => [x + width / 2, y + height / 2])(document.getElementById("${id}").getBoundingClientRect())`;
    const [x, y] = (await this.evaluate(box)) as [number, number];
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.#send("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
    }
  }

  async press(key: "Tab" | "Enter"): Promise<void> {
    const [code, text] = key === "Enter" ? [13, "\r"] : [9, ""];
    for (const type of ["keyDown", "keyUp"]) {
      await this.#send("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: code, text });
    }
  }

  /** What a screen reader is told: each thing that isn't ignored, by its role and name. */
  async roles(): Promise<{ role: string; name: string }[]> {
    interface Node {
      ignored: boolean;
      role?: { value: string };
      name?: { value: string };
    }
    const { nodes } = await this.#send("Accessibility.getFullAXTree");
    return (nodes as Node[])
      .filter(({ ignored }) => !ignored)
      .map(({ role, name }) => ({ role: role?.value ?? "", name: name?.value ?? "" }));
  }

  /** As if the person had set their system to light or dark. */
  async prefer(scheme: "light" | "dark"): Promise<void> {
    await this.#send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** What axe finds that keeps some people out (WCAG 2.2, levels A and AA, and best practices): each rule, and where. */
  async barriers(): Promise<{ rule: string; where: string }[]> {
    // Once it is drawn as it is to be: colours are what axe looks at, too.
    await this.evaluate(
      "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => true)",
    );
    await this.evaluate(
      "Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => {}))).then(() => true)",
    );
    await this.evaluate(`${axe.source}; undefined`);
    const found = (await this.evaluate(
      "axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => ({ rule: id, where: html + failureSummary }))))",
    )) as { rule: string; where: string }[];
    return found;
  }

  /** What a person would see, as a file. */
  async screenshot(file: string, scheme: "light" | "dark"): Promise<void> {
    await this.prefer(scheme);
    const { data } = await this.#send("Page.captureScreenshot", { format: "png" });
    await writeFile(file, Buffer.from(String(data), "base64"));
  }
}
