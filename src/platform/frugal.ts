import { setFlagsFromString } from "node:v8";

/**
 * Keeps the memory of this process small, at the cost of some processor time: for work on many things that mostly waits for
 * others. V8 would let the part of the heap where new objects are made grow to some 100 MB while a thousand things are under
 * way, and never give it back.
 */
export function stayFrugal(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}

/**
 * Looks early for what isn't in use any more, where that costs nothing: while answers are waited for. V8 would first let the heap
 * become twice as large.
 */
export function collectEarly(): void {
  setFlagsFromString("--heap-growing-percent=10");
}
