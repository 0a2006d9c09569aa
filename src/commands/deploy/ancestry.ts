import type { Repository } from "../../platform/git.ts";
import type { HostFailure } from "../../results.ts";

/** Whether published commits lie behind the one that is deployed; each is looked up once. */
export class Ancestry {
  readonly #repository: Repository;
  readonly #head: string;
  readonly #known = new Map<string, Promise<boolean | undefined>>();

  constructor(repository: Repository, head: string) {
    this.#repository = repository;
    this.#head = head;
  }

  /** Why the commit that is deployed can't follow a published one; null when it can. */
  async problem(published: string): Promise<HostFailure | null> {
    const answer = this.#known.get(published) ?? this.#repository.isAncestor(published, this.#head);
    this.#known.set(published, answer);
    const isAncestor = await answer;
    if (isAncestor === true) return null;
    if (isAncestor === undefined) {
      return {
        message: `the published commit ${published.slice(0, 12)} is not in this clone, so it can't be told which one is newer`,
        hint: "fetch the whole history (on GitHub, fetch-depth: 0), or --force",
      };
    }
    return {
      message: `the published commit ${published.slice(0, 12)} is not an ancestor of ${this.#head.slice(0, 12)}`,
      hint: "merge it first; --force publishes all the same",
    };
  }
}
