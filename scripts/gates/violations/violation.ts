/** A deliberate violation of a gate. `scripts/verify-gates.ts` plants it in a copy of the repository. */
export interface Violation {
  /** What the gate keeps out. */
  readonly gate: string;
  /** The step of `npm run verify` that must catch it. */
  readonly step: string;
  /** Violations of one step are planted together when their files differ, so each must leave the others as they are. */
  readonly file: string;
  /** The whole content of a new file, or what is done to an existing one. */
  readonly plant: string | ((before: string) => string);
  /** Further new files that it takes. */
  readonly beside?: Readonly<Record<string, string>>;
  /** What the step must print: the rule's name, and where. */
  readonly caught: RegExp;
  /** Narrows the step to what matters here, where running all of it would only cost time. */
  readonly args?: readonly string[];
}

export const server = 'packages/server/src';
