/** Does `work` for every item, `limit` ahead of whoever takes the results, which come in the items' order. */
export async function* ahead<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void> {
  const begun: Promise<R>[] = [];
  for (const item of items) {
    const result = work(item);
    // Whoever takes it is told; nobody may.
    result.catch(() => {});
    begun.push(result);
    const first = begun.length > limit ? begun.shift() : undefined;
    if (first !== undefined) yield await first;
  }
  for (const result of begun) yield await result;
}

/**
 * Does `work` for every item, at most `limit` at a time, and gives the results in the items' order. After an error nothing more
 * is begun; the first one is thrown when what was under way has ended.
 */
export async function parallel<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  const queue = items.entries();
  const errors: unknown[] = [];
  const worker = async () => {
    for (const [index, item] of queue) {
      try {
        results[index] = await work(item, index);
      } catch (error) {
        errors.push(error);
      }
      if (errors.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (errors.length > 0) throw errors[0];
  return results;
}
