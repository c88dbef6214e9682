import { dictionary } from '@nexus-agent/protocol';
/**
 * What failures of the two databases mean. Only what a statement itself can be wrong about is `fatal`; everything else passes
 * when somebody frees disk space, promotes a standby or mends a network, and must not be held against the work at hand.
 */

/**
 * `busy`: another transaction was in the way, the same again will do. `conflict`: another transaction inserted the same key
 * first, the same again will see it. `outage`: the database is not able to answer for now. `fatal`: the statement is wrong.
 */
export type Failure = 'busy' | 'conflict' | 'outage' | 'fatal';

/** A failure as the database, or the way to it, reported it. What a driver throws besides is its own mistake. */
export class DatabaseFailure extends Error {
  readonly failure: Failure;
  /** In words, to stand in the message of an error: `the database has no disk space left`. */
  readonly reason: string;
  /** Other connections to the same server are to be doubted too. */
  readonly doubtful: boolean;

  constructor(
    failure: Failure,
    reason: string,
    { cause, doubtful = false }: { readonly cause?: unknown; readonly doubtful?: boolean } = {},
  ) {
    super(reason, cause === undefined ? undefined : { cause });
    this.name = 'DatabaseFailure';
    this.failure = failure;
    this.reason = reason;
    this.doubtful = doubtful;
  }
}

/** Data, constraints, syntax and rights, and limits of the program (a value too long for its index): what a statement can be wrong about. */
const ofTheStatement = /^(22|23|42|54)/;
const busyStates: ReadonlySet<string> = new Set(['40001', '40P01', '55P03']); // serialization, deadlock, lock timeout
/** Left by another client of the same pooler: it says nothing of the statement. */
const duplicatePrepared = '42P05';

const postgresReasons: Readonly<Record<string, string>> = dictionary({
  '08P01': 'the server, or a pooler in front of it, does not take what was sent',
  '25006': 'the database is read-only',
  '26000': 'a pooler has forgotten a prepared statement',
  '53100': 'the database has no disk space left',
  '53200': 'the database is out of memory',
  '53300': 'the database takes no more connections',
  '55000': 'the database lets nobody in for now',
  '57014': 'the database cancelled a statement that took too long',
  '57P01': 'the database is shutting down',
  '57P02': 'the database has crashed and is restarting',
  '57P03': 'the database is starting up',
  '58030': 'the database cannot read or write its disk',
});

/** What an error of `pg` means: a refusal of the server, or of the socket to it. */
export function postgresFailure(error: unknown): DatabaseFailure {
  if (error instanceof DatabaseFailure) return error;
  const state = sqlState(error);
  if (state === undefined) {
    const code = property(error, 'code');
    const reason = `the database cannot be reached${typeof code === 'string' ? ` (${code})` : ''}`;
    return new DatabaseFailure('outage', reason, { cause: error, doubtful: true });
  }
  if (busyStates.has(state)) return new DatabaseFailure('busy', 'the database stayed busy', { cause: error });
  if (state === '23505') return new DatabaseFailure('conflict', 'this id is already in use', { cause: error });
  if (ofTheStatement.test(state) && state !== duplicatePrepared) {
    return new DatabaseFailure('fatal', 'the database refused a statement; see the log', { cause: error });
  }
  const reason = postgresReasons[state] ?? `the database is not available (${state})`;
  // A session that was told to stop a statement, or lacks room for it, is as good as before.
  return new DatabaseFailure('outage', reason, { cause: error, doubtful: !/^(57014|53)/.test(state) });
}

/** Primary result codes of what a statement can be wrong about: ERROR, TOOBIG, CONSTRAINT, MISMATCH, MISUSE, RANGE. */
const sqliteFatal: ReadonlySet<number> = new Set([1, 18, 19, 20, 21, 25]);
const sqliteReasons: Readonly<Record<number, string>> = dictionary({
  8: 'the database file is read-only',
  10: 'the database file cannot be read or written',
  11: 'the database file is damaged',
  13: 'there is no disk space left for the database',
  14: 'the database file cannot be opened',
  26: 'the database file is no database',
});

/** What an error of `node:sqlite` means; null for one that is not the database's. */
export function sqliteFailure(error: unknown): DatabaseFailure | null {
  if (error instanceof DatabaseFailure) return error;
  const code = property(error, 'errcode');
  if (typeof code !== 'number') return null;
  const primary = code & 0xff;
  if (primary === 5 || primary === 6) return new DatabaseFailure('busy', 'the database stayed busy', { cause: error });
  // SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE
  if (code === 1555 || code === 2067) return new DatabaseFailure('conflict', 'this id is already in use', { cause: error });
  if (sqliteFatal.has(primary)) return new DatabaseFailure('fatal', 'the database refused a statement; see the log', { cause: error });
  return new DatabaseFailure('outage', sqliteReasons[primary] ?? `the database is not available (${primary})`, { cause: error });
}

/** The five characters with which Postgres names what happened. */
export function sqlState(error: unknown): string | undefined {
  const code = property(error, 'code');
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && property(error, 'severity') !== undefined ? code : undefined;
}

export function property(error: unknown, name: string): unknown {
  return typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined;
}
