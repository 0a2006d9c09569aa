import { hostname, userInfo } from "node:os";
import type { LockOptions } from "../publish/publisher.ts";
import { join, type Parcel, type Publishers } from "../publish/publishers.ts";
import { sealAll } from "../release/envelope.ts";
import type { PrivateKey } from "../release/keys.ts";
import { archivesOf } from "../release/plan.ts";
import type { HostDeploy } from "../results.ts";
import type { Context } from "./context.ts";
import { type Planned, published } from "./planning.ts";
import type { Step } from "./prepare.ts";

/** The lock for whoever publishes now, and how long to wait for it in milliseconds. */
export function lockFor(context: Context, { wait }: { wait: number }): LockOptions & { owner: string } {
  return {
    owner: `${userInfo().username}@${hostname()}`,
    wait,
    onWait: (holder) => context.output.progress(`waiting for the lock of ${holder}`),
  };
}

/** Signs the releases that are new, puts them up, and says what became of each host. */
export async function signAndPublish(
  context: Context,
  publishers: Publishers,
  signingKey: PrivateKey,
  planned: readonly Step<Planned>[],
): Promise<HostDeploy[]> {
  const ready = planned.flatMap((step) => ("result" in step ? [] : [step.value]));
  const unsigned = ready.filter(({ envelope }) => envelope === null);
  const signed = await sealAll(
    unsigned.map(({ manifest }) => manifest),
    signingKey,
  );
  const envelopes = new Map(unsigned.map((one, n) => [one, signed[n] ?? ""]));
  const parcels = ready.map(
    (one): Parcel => ({
      upload: {
        host: one.manifest.host,
        envelope: one.envelope ?? envelopes.get(one) ?? "",
        archive: one.packed,
        keep: archivesOf(one.manifest),
      },
      to: one.to,
    }),
  );
  const failures = await publishers.publish(parcels, ({ sent, total }) => {
    context.output.progress(`publishing ${parcels.length} hosts: ${Math.round((100 * sent) / Math.max(total, 1))} %`);
  });
  context.output.done();
  return planned.map((step) =>
    "result" in step
      ? step.result
      : published(step.value.manifest, join(failures.get(step.host.name) ?? null, step.value.unread)),
  );
}
