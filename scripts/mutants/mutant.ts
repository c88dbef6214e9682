/** A bug that somebody might make, and the tests that are there to catch it. */
export interface Mutant {
  /** What goes wrong, in the words of one who sees it. */
  readonly bug: string;
  readonly file: string;
  /** Text that stands in the file once. */
  readonly replace: string;
  /** What stands there with the bug. */
  readonly by: string;
  /** Each of these files must fail. */
  readonly tests: readonly string[];
}

/** In how many places of the source the bug could be planted: it takes one. */
export function placesOf({ replace }: Mutant, source: string): number {
  return source.split(replace).length - 1;
}

export const server = 'packages/server/src';
