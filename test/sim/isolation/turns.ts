/** What a scheduler decides about work of several nodes on one database. */
import type { Chance } from '../../../packages/server/src/apps/testing/index.ts';
import type { Store } from '../../../packages/server/src/storage/index.ts';

/** A database whose transactions go on when they are told to. */
export interface TurnsDatabase {
  readonly name: 'sqlite' | 'postgres';
  /** One for each node, each on a connection of its own. */
  readonly stores: readonly Store[];
  /** Reads, and prepares, beside everybody. */
  query(sql: string): Promise<readonly Readonly<Record<string, string | number | null>>[]>;
  /** Begins one piece of work at each node, and orders what they ask of the database as chance has it until all have ended. */
  interleave(works: readonly (() => Promise<void>)[], chance: Chance, faults: Faults): Promise<void>;
  /** What went to the database, in order, since it was asked last. */
  trace(): readonly string[];
  close(): Promise<void>;
}

export interface Faults {
  /** How likely the answer to a COMMIT is lost, with the connection. */
  readonly lostAnswers: number;
  /** How likely a connection is cut before anything else that is sent arrives. */
  readonly cuts: number;
}

/** Nobody gets on for so long: something hangs. */
export const patienceMs = 15_000;
