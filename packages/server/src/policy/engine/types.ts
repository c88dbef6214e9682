import type { DecisionRecord, PolicyAction, PolicyShortForm } from '@nexus-agent/protocol';
import type { CompileOptions, DecisionRequest, Mentions, PolicySource } from '#policy/compile';

/** The answer, without the record's id (the caller numbers it). */
export type Decision = Omit<DecisionRecord, 'id'>;

export interface PreparedPolicies {
  use(): void;
  /** The tools that each operator policy names one by one, by its id. */
  toolsNamed(): ReadonlyMap<string, readonly string[]>;
  /** What else they speak of that may not be there. */
  mentions(): ReadonlyMap<string, Mentions>;
}

export interface PolicyEngine {
  /** Hash of all operator policies and the schema; recorded with every decision. */
  readonly version: string;
  /** Never throws: an evaluation error is a denial that says so. */
  decide(request: DecisionRequest): Decision;
  /**
   * Whether no such request can be allowed, whatever its arguments and its moment: for telling it ahead. False where that is not plain. The
   * context of the request counts for nothing.
   */
  allowsNothing(request: DecisionRequest): boolean;
  /**
   * Validates operator policies against the schema; throws `invalid_request` naming the policy and the place. What comes back puts them
   * in the place of the current ones, at once: each decision is by the ones or the others.
   */
  prepare(sources: readonly PolicySource[], options?: CompileOptions): PreparedPolicies;
  /** Whether a policy of the operator can say something about an action. Where none does, the defaults decide alone. */
  speaksOf(action: PolicyAction): boolean;
  /** Whether a policy of the operator forbids calls of tools by their argument `path`. */
  forbidsSomePath(): boolean;
  /** Whether such a policy made this decision. */
  isPathForbid(decision: Pick<Decision, 'effect' | 'reasons'>): boolean;
  /**
   * Makes ready what a first decision would wait for, a little at a time; `pause` is awaited in between. Decides nothing that is
   * recorded. Rejects when Cedar cannot be loaded: decisions then deny.
   */
  warm(pause: () => Promise<void>): Promise<void>;
  /** Compiles a short form, for checking it when it is stored. Throws `invalid_request`. */
  check(form: PolicyShortForm): void;
}
