import { inertLine } from "../inert.ts";
import type { PushDocument } from "../results.ts";
import { failureLines } from "./failure.ts";
import { type Paint, table } from "./terminal.ts";

export function renderPush(document: PushDocument, paint: Paint, verbose: boolean): string {
  return document.hosts
    .flatMap((host) => {
      const ok = host.status === "ok";
      const word = (host.outcome ?? host.status).replaceAll("-", " ");
      const release = host.sequence === null ? "nothing was published" : `release ${host.sequence}`;
      const detail = [release, ...(host.reason === null ? [] : [inertLine(host.reason)])].join(": ");
      const row = [paint(ok ? "green" : "red", ok ? "✓" : "✗"), host.name, paint(ok ? "green" : "red", word), detail];
      const { error } = host;
      const more = error === null || error.message === host.reason ? [] : failureLines(error, paint, verbose);
      return [...table([row]), ...more.map((line) => `    ${line}`)];
    })
    .join("\n");
}
