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

export const server = 'packages/server/src';
