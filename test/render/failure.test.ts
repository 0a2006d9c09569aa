import { expect, test } from "vitest";
import { FleetError } from "../../src/errors.ts";
import { describeError } from "../../src/render/failure.ts";
import { painter } from "../../src/render/terminal.ts";

const describe = (error: unknown) => describeError(error, painter(false));

test("what a user can cause: the place, what is wrong, and what to do, without a stack trace", () => {
  const error = new FleetError("it is wrong", {
    at: { file: "fleet.yaml", line: 2, column: 3 },
    hint: "mend it",
    cause: new Error("inner"),
  });
  expect(describe(error)).toBe("error: fleet.yaml:2:3: it is wrong\n→ mend it");
});

test("a bug says that it is one, and where it is", () => {
  const text = describe(new TypeError("x is undefined"));
  expect(text).toMatch(/^error: this is a bug in Bento: TypeError: x is undefined\n +at /);
  expect(describe("thrown\u001b[2J")).toBe("error: this is a bug in Bento: thrown\ufffd[2J");
});
