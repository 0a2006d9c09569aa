// Makes the pictures of the README, in docs/pictures: how a change comes to the machines, and a pull request's report, as GitHub
// shows it. What is reported is real: a fleet of the demo's, two commits, and `bento check`. Needs Nix, git and Chromium.
//
//   node scripts/pictures/make.ts
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { marked } from "marked";
import { packageRoot } from "../../src/platform/package.ts";
import { Browser } from "../../test/support/browser.ts";
import { flow } from "./flow.ts";
import { report } from "./report.ts";

const pictures = path.join(packageRoot(), "docs/pictures");
/** CSS pixels. */
const WIDTH = 960;

const dir = await mkdtemp("/var/tmp/bento-pictures-");
try {
  const text = await report(dir);
  await mkdir(pictures, { recursive: true });
  for (const scheme of ["light", "dark"] as const)
    await writeFile(path.join(pictures, `flow-${scheme}.svg`), flow(scheme));
  await writeFile(path.join(pictures, "report.md"), text);
  const style = await readFile(path.join(import.meta.dirname, "github.css"), "utf8");
  const file = path.join(dir, "report.html");
  const body = await marked.parse(text, { gfm: true });
  await writeFile(file, `<!doctype html><meta charset="utf-8"><style>${style}</style><main>${body}</main>\n`);
  await using browser = await Browser.launch();
  const page = await browser.open(String(pathToFileURL(file)));
  await page.resize(WIDTH, 100, true);
  const height = Number(
    await page.evaluate("Math.ceil(document.querySelector('main').getBoundingClientRect().height)"),
  );
  await page.resize(WIDTH, height, true);
  for (const scheme of ["light", "dark"] as const) {
    await page.screenshot(path.join(pictures, `report-${scheme}.png`), scheme);
  }
} finally {
  await rm(dir, { recursive: true, force: true });
}
