import { expect, test } from "vitest";
import { parsePlan } from "../../src/nix/plan.ts";

const items = (count: number) =>
  Array.from({ length: count }, (_, i) => `  /nix/store/${"0".repeat(32)}-p${i}\n`).join("");

const path = (name: string) => `  /nix/store/${"0".repeat(32)}-${name}\n`;
// Recorded: two derivations to build upon two paths of a cache.
const RECORDED = {
  "2.8.0": `these 2 derivations will be built:\n${path("c.drv")}${path("e.drv")}these 2 paths will be fetched (5.06 MiB download, 5.05 MiB unpacked):\n${path("b")}${path("a")}`,
  "2.26.3": `these 2 derivations will be built:\n${path("c.drv")}${path("e.drv")}these 2 paths will be fetched (5.06 MiB download, 5.05 MiB unpacked):\n${path("a")}${path("b")}`,
  "2.34.8": `these 2 derivations will be built:\n${path("c.drv")}${path("e.drv")}these 2 paths will be fetched (5.1 MiB download, 5.1 MiB unpacked):\n${path("a")}${path("b")}`,
  "2.34.8, less": `this derivation will be built:\n${path("c.drv")}this path will be fetched (293.1 KiB download, 293.1 KiB unpacked):\n${path("a")}`,
};

// As the three versions word it; 2.8 and 2.26 know MiB alone.
test.each<[string, string, { build: number; fetch: number; download: number | null; unpacked: number | null }]>([
  ["2.8.0", RECORDED["2.8.0"], { build: 2, fetch: 2, download: 5_305_795, unpacked: 5_295_309 }],
  ["2.26.3", RECORDED["2.26.3"], { build: 2, fetch: 2, download: 5_305_795, unpacked: 5_295_309 }],
  ["2.34.8", RECORDED["2.34.8"], { build: 2, fetch: 2, download: 5_347_738, unpacked: 5_347_738 }],
  ["2.34.8, less", RECORDED["2.34.8, less"], { build: 1, fetch: 1, download: 300_134, unpacked: 300_134 }],
  ["nothing to do", "", { build: 0, fetch: 0, download: 0, unpacked: 0 }],
  ["one to build", `this derivation will be built:\n${items(1)}`, { build: 1, fetch: 0, download: 0, unpacked: 0 }],
  [
    "several to build",
    `these 12 derivations will be built:\n${items(12)}`,
    { build: 12, fetch: 0, download: 0, unpacked: 0 },
  ],
  [
    "2.8: one to fetch",
    `this path will be fetched (0.05 MiB download, 0.21 MiB unpacked):\n${items(1)}`,
    { build: 0, fetch: 1, download: 52_429, unpacked: 220_201 },
  ],
  [
    "2.8: both",
    `these 3 derivations will be built:\n${items(3)}these 412 paths will be fetched (341.25 MiB download, 1623.48 MiB unpacked):\n${items(412)}`,
    { build: 3, fetch: 412, download: 357_826_560, unpacked: 1_702_342_164 },
  ],
  [
    "2.26: both",
    `this derivation will be built:\n${items(1)}these 2 paths will be fetched (12.50 MiB download, 70.00 MiB unpacked):\n${items(2)}`,
    { build: 1, fetch: 2, download: 13_107_200, unpacked: 73_400_320 },
  ],
  [
    "2.34: other units",
    `these 2 paths will be fetched (980.0 KiB download, 1.5 GiB unpacked):\n${items(2)}`,
    { build: 0, fetch: 2, download: 1_003_520, unpacked: 1_610_612_736 },
  ],
  [
    "2.34: bytes",
    `this path will be fetched (112.0 B download, 2.0 KiB unpacked):\n${items(1)}`,
    { build: 0, fetch: 1, download: 112, unpacked: 2048 },
  ],
  ["no sizes", `these 2 paths will be fetched:\n${items(2)}`, { build: 0, fetch: 2, download: null, unpacked: null }],
  [
    "a unit of the future",
    `this path will be fetched (1.0 QiB download, 1.0 B unpacked):\n${items(1)}`,
    { build: 0, fetch: 1, download: null, unpacked: 1 },
  ],
  [
    "warnings around it",
    `warning: unknown setting 'x'\nthis derivation will be built:\n${items(1)}don't know how to build these paths:\n${items(3)}`,
    { build: 1, fetch: 0, download: 0, unpacked: 0 },
  ],
  [
    "a package whose name says so",
    `  /nix/store/${"0".repeat(32)}-these 9 derivations will be built:\n`,
    { build: 0, fetch: 0, download: 0, unpacked: 0 },
  ],
])("%s", (_, text, expected) => {
  expect(parsePlan(text)).toEqual(expected);
});
