import { expect, test } from "vitest";
import { eventReader, type NixEvent, parseEvent } from "../../src/nix/activity.ts";
import { BuildProgress } from "../../src/nix/build-progress.ts";
import { buildProgress } from "../../src/render/build.ts";

const DRV = "/nix/store/c987mpiv4aksk0s9f6dl3fdp6sqafjaz-nginx-1.0.drv";
const SYSTEM = "/nix/store/k71c16sdzg6919ygb6qmkvnh4yyvkcjs-nixos-system-a-1.drv";

test("events in the forms of 2.8 and 2.34", () => {
  const start = `@nix {"action":"start","fields":["${DRV}","",1,1],"id":5,"level":3,"parent":0,"text":"building","type":105}`;
  expect(parseEvent(start)).toEqual({ kind: "start", id: 5, type: 105, path: DRV });
  expect(parseEvent('@nix {"action":"start","id":7,"level":0,"text":"","type":104}')).toMatchObject({ path: "" });
  expect(parseEvent('@nix {"action":"result","fields":["::error::hi"],"id":5,"type":101}')).toEqual({
    kind: "log",
    id: 5,
    line: "::error::hi",
  });
  expect(parseEvent('@nix {"action":"result","fields":[1,3,1,0],"id":7,"type":105}')).toEqual({
    kind: "progress",
    id: 7,
    done: 1,
    expected: 3,
  });
  expect(parseEvent('@nix {"action":"msg","column":null,"level":0,"msg":"error: no"}')).toEqual({
    kind: "message",
    level: 0,
    text: "error: no",
  });
});

test("what isn't Nix's own JSON does no harm", () => {
  for (const line of [
    "@nix {",
    "@nix null",
    "@nix []",
    '@nix {"action":"start","id":"x"}',
    '@nix {"action":"result","id":1,"type":101,"fields":{}}',
  ]) {
    expect(parseEvent(line), line).toBeUndefined();
  }
  expect(parseEvent("warning: x")).toEqual({ kind: "message", level: 1, text: "warning: x" });
});

test("lines may come in any pieces, and one without an end takes no memory", () => {
  const seen: NixEvent[] = [];
  const read = eventReader((event) => seen.push(event));
  for (const letter of '@nix {"action":"stop","id":1}\n@nix {"action":"stop","id":2}\n') read(letter);
  for (let n = 0; n < 40; n++) read("x".repeat(100_000));
  read('\n@nix {"action":"stop","id":3}\n');
  expect(seen.filter(({ kind }) => kind === "stop").map((event) => "id" in event && event.id)).toEqual([1, 2, 3]);
});

/** What the progress line says after these events, and which hosts are done. */
function follow(events: readonly NixEvent[]) {
  const done: string[] = [];
  const progress = new BuildProgress(new Map([[SYSTEM, "a"]]), (name) => done.push(name));
  for (const event of events) progress.see(event);
  const line = buildProgress(done.length, 2, progress.state());
  progress.end();
  return { line, done };
}

const begin: NixEvent[] = [
  { kind: "start", id: 1, type: 104, path: "" },
  { kind: "start", id: 2, type: 101, path: "" },
  { kind: "expected", id: 9, type: 101, expected: 4096 },
  { kind: "progress", id: 2, done: 1024, expected: 4096 },
  { kind: "start", id: 3, type: 105, path: DRV },
  { kind: "progress", id: 1, done: 1, expected: 3 },
];

test("the progress line says how far it is, and what is being built", () => {
  expect(follow(begin).line).toBe("building: 0 of 2 hosts; 1 of 3 derivations: nginx-1.0; fetched 1.0 KiB of 4.0 KiB");
  expect(follow([]).line).toBe("building: 0 of 2 hosts");
});

test("a system that was built is done, and one that failed isn't, whichever comes first", () => {
  const system: NixEvent[] = [{ kind: "start", id: 4, type: 105, path: SYSTEM }];
  const stop: NixEvent = { kind: "stop", id: 4 };
  const failure: NixEvent = { kind: "message", level: 0, text: `error: Cannot build '${SYSTEM}'.` };
  const other: NixEvent = { kind: "message", level: 0, text: `error: Cannot build '${DRV}'.` };
  expect(follow([...system, stop]).done).toEqual(["a"]);
  expect(follow([...system, stop, other]).done).toEqual(["a"]);
  expect(follow([...system, stop, failure]).done).toEqual([]);
  expect(follow([...system, failure, stop]).done).toEqual([]);
});
