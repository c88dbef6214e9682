import { NexusError } from './errors.ts';

/** What holds of the rows of the database before and after every commit, whoever wrote them. */
export const invariants = [
  /** A grant leaves no more spent and reserved than the limit. */
  'budget_limit',
  /** Nothing spent or reserved is below zero. */
  'budget_balance',
  /** A reservation is closed once. */
  'reservation_closed',
  /** A journal is as long as its run says, and has no gap. */
  'journal_sequence',
  /** The epoch of a run only grows. */
  'run_epoch',
  /** A run that ended is not changed by a worker. */
  'run_ended',
  /** The runs that wait for a session have an order. */
  'session_turns',
] as const;
export type Invariant = (typeof invariants)[number];

/**
 * Rows contradict each other: a fault of this program, or of whoever changed them beside it. What was to be written is not, none of it.
 * `facts` hold all that it takes to look into it, ids and numbers, and nothing that a person or a model wrote.
 */
export class BrokenInvariant extends NexusError {
  readonly invariant: Invariant;
  readonly facts: Readonly<Record<string, string | number | null>>;

  constructor(invariant: Invariant, facts: BrokenInvariant['facts']) {
    super(
      'internal',
      `rows of the database contradict each other (${invariant}), so that nothing was written; the log of the server says which`,
    );
    this.invariant = invariant;
    this.facts = facts;
  }
}
