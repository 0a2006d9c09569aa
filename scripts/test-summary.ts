/**
 * Reads vitest's JSON report, says which tests were skipped and why, then which failed and how, and ends with
 * `N passed, N failed, N skipped`.
 * Arguments: the report, vitest's exit status. Exits with 1 unless something passed and nothing failed.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";

interface Report {
  testResults: {
    name: string;
    status: string;
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages?: string[] }[];
  }[];
}

const [reportFile = "", vitestStatus = "1"] = process.argv.slice(2);
const root = path.join(import.meta.dirname, "..");
let passed = 0;
const failures: string[] = [];
const skipped: string[] = [];

/** What failed, with the first lines of why: a service that runs this may keep no more than the end of what it prints. */
const failure = (what: string, why: string) =>
  [what, ...stripVTControlCharacters(why).trim().split("\n").slice(0, 20)].join("\n      ");

const text = readFileSync(reportFile, "utf8");
const report: Report = text === "" ? { testResults: [] } : JSON.parse(text);
for (const file of report.testResults) {
  const name = path.relative(root, file.name);
  // A file that couldn't even be loaded has no tests to count.
  if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"))
    failures.push(failure(name, file.message));
  for (const test of file.assertionResults) {
    if (test.status === "passed") passed += 1;
    else if (test.status === "failed")
      failures.push(failure(`${name}: ${test.fullName}`, test.failureMessages?.join("\n") ?? ""));
    else skipped.push(`${name}: ${test.fullName}`);
  }
}

if (process.getuid?.() !== 0) skipped.push("test/**/*.itest.ts: they need root, for sshd's chroots and logins");
const reasons = [
  process.env.BENTO_TEST_NIXPKGS ? undefined : "BENTO_TEST_NIXPKGS is not set to a nixpkgs: no real NixOS is evaluated",
  process.env.BENTO_TEST_NIXPKGS_LIB ? undefined : "BENTO_TEST_NIXPKGS_LIB is not set to a nixpkgs' lib",
  process.env.BENTO_TEST_OLD_BENTO ? undefined : "BENTO_TEST_OLD_BENTO is not set to a clone of rapenne-s/bento",
  process.env.BENTO_TEST_ALL ? undefined : "without --all the long sweeps are left out",
].filter((reason) => reason !== undefined);
if (skipped.length > 0) {
  console.log(`\nSkipped (${reasons.join("; ")}):`);
  for (const line of skipped) console.log(`  ${line}`);
}
if (failures.length === 0 && vitestStatus !== "0") failures.push("vitest failed outside of a test; see above");
if (failures.length > 0) {
  console.log("\nFailed:");
  for (const line of failures) console.log(`  ${line}`);
}
console.log(`\n${passed} passed, ${failures.length} failed, ${skipped.length} skipped`);
process.exitCode = failures.length === 0 && passed > 0 ? 0 : 1;
