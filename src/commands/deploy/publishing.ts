import { availableParallelism, hostname, userInfo } from "node:os";
import { ahead } from "../../platform/parallel.ts";
import type { LockOptions } from "../../publish/publisher.ts";
import { join, type Parcel, type Publishers } from "../../publish/publishers.ts";
import { sealer } from "../../release/envelope.ts";
import type { PrivateKey } from "../../release/keys.ts";
import { archivesOf } from "../../release/plan.ts";
import type { HostDeploy } from "../../results.ts";
import type { Context } from "../context.ts";
import { type Due, type Planned, published } from "./planning.ts";
import type { Step } from "./prepare.ts";

/** The lock for whoever publishes now, and how long to wait for it in milliseconds. */
export function lockFor(context: Context, { wait }: { wait: number }): LockOptions & { owner: string } {
  return {
    owner: `${userInfo().username}@${hostname()}`,
    wait,
    onWait: (holder) => context.output.progress(`waiting for the lock of ${holder}`),
  };
}

/** Makes and signs the releases that are new, puts them up, and says what became of each host. */
export async function signAndPublish(
  context: Context,
  publishers: Publishers,
  signingKey: PrivateKey,
  due: readonly Step<Due>[],
): Promise<HostDeploy[]> {
  const count = due.filter((step) => !("result" in step)).length;
  if (count === 0) return due.flatMap((step) => ("result" in step ? [step.result] : []));
  const seal = await sealer(signingKey);
  const planned: Step<Planned>[] = [];
  // What is made is sent while the next is being made.
  async function* parcels(): AsyncGenerator<Parcel, void> {
    const make = async (step: Step<Due>) => ("result" in step ? step : step.value.make());
    for await (const step of ahead(due, availableParallelism(), make)) {
      planned.push(step);
      if ("result" in step) continue;
      const { manifest, packed, to } = step.value;
      const envelope = step.value.envelope ?? (await seal(manifest));
      yield { upload: { host: manifest.host, envelope, archive: packed, keep: archivesOf(manifest) }, to };
    }
  }
  const failures = await publishers.publish(parcels(), ({ hosts }) => {
    context.output.progress(`publishing: ${hosts} of ${count} hosts`);
  });
  context.output.done();
  return planned.map((step) =>
    "result" in step
      ? step.result
      : published(step.value.manifest, join(failures.get(step.host.name) ?? null, step.value.unread)),
  );
}
