/** So much of something, such as bytes on their way. Those who want some get it in the order in which they asked. */
export class Budget {
  readonly #size: number;
  #free: number;
  readonly #queue: { amount: number; start: () => void }[] = [];

  constructor(size: number) {
    this.#size = size;
    this.#free = size;
  }

  /** Resolves when it is there, and gives what has to be given back: who asks for more than there ever is gets all. */
  async take(amount: number): Promise<number> {
    const granted = Math.min(amount, this.#size);
    if (this.#queue.length === 0 && this.#free >= granted) {
      this.#free -= granted;
      return granted;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queue.push({ amount: granted, start: resolve });
    await promise;
    return granted;
  }

  give(amount: number): void {
    this.#free += amount;
    for (let next = this.#queue[0]; next !== undefined && next.amount <= this.#free; next = this.#queue[0]) {
      this.#queue.shift();
      this.#free -= next.amount;
      next.start();
    }
  }
}
