import { readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { flow } from "../scripts/pictures/flow.ts";
import { report } from "../scripts/pictures/report.ts";
import { packageRoot } from "../src/platform/package.ts";
import { temporaryDirectory } from "../src/platform/temporary.ts";
import { Browser } from "./support/browser.ts";

test("the README's picture shows what a check reports today; if not: node scripts/pictures/make.ts", async () => {
  await using dir = await temporaryDirectory();
  const shown = await readFile(path.join(packageRoot(), "docs/pictures/report.md"), "utf8");
  // What is folded in is Nix's own text, and not in the picture.
  const [visible] = shown.split("<details>");
  const [today] = (await report(dir.path)).split("<details>");
  expect(today).toBe(visible);
});

/** Each text that leaves the box in which it begins, and each label that touches a box or another one. */
const TROUBLE = `(() => {
  const box = (element) => element.getBBox();
  const rects = [...document.querySelectorAll("rect")].map(box);
  const within = (a, b, room) => a.x >= b.x + room && a.x + a.width <= b.x + b.width - room && a.y >= b.y && a.y + a.height <= b.y + b.height;
  const touch = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
  const texts = [...document.querySelectorAll("text")];
  return texts.flatMap((text, index) => {
    const area = box(text);
    const others = texts.filter((_, other) => other !== index).map(box);
    const alone = !others.some((other) => touch(area, other));
    const begins = rects.filter((rect) => within({ ...area, x: area.x, y: area.y, width: 1, height: area.height }, rect, 0));
    const fits = text.classList.contains("label") ? !rects.some((rect) => touch(area, rect)) : begins.length > 0 && begins.every((rect) => within(area, rect, 4));
    return alone && fits ? [] : [text.textContent];
  });
})()`;

test.each(["light", "dark"] as const)(
  "the %s picture of the flow is what the script makes, and no text leaves its box",
  async (scheme) => {
    const file = path.join(packageRoot(), `docs/pictures/flow-${scheme}.svg`);
    expect(await readFile(file, "utf8")).toBe(flow(scheme));
    await using browser = await Browser.launch();
    const page = await browser.open(String(pathToFileURL(file)));
    expect(await page.evaluate("document.querySelectorAll('text').length")).toBeGreaterThan(30);
    expect(await page.evaluate(TROUBLE)).toEqual([]);
    // An SVG that doesn't fit is seen.
    await page.evaluate("document.querySelector('.title').textContent = 'a title that is too long for its column'");
    expect(await page.evaluate(TROUBLE)).not.toEqual([]);
  },
);
