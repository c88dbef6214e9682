import type { Compilable, Kysely } from 'kysely';
import type { AnyTable } from './table.ts';

/**
 * Queries are written once, as generators that yield requests and are resumed with rows. SQLite runs a whole program
 * without giving up the thread, so that a transaction needs no lock in the process and no promise per query; Postgres
 * awaits each request on one connection.
 */
export type Program<R> = Generator<Request, R, Result>;

export type Value = string | number | null;
export interface Result {
  readonly rows: readonly unknown[];
  /** Rows written. */
  readonly changes: number;
  readonly parts?: readonly Result[];
}

export type Params = Readonly<Record<string, Value>>;

/** A query that is built and compiled once per store: `build` must not depend on the values. */
export interface Statement<P extends Params, R> {
  readonly name: string;
  build(builder: QueryBuilder, params: P): Compilable<R>;
}

/** Kysely, used to compile only, with what differs between the databases. `D` is the tables that the query sees. */
export interface QueryBuilder<D = unknown> {
  readonly db: Kysely<D>;
  readonly dialect: DialectParts;
}

/** The few expressions that differ between the databases. */
export interface DialectParts {
  readonly name: 'sqlite' | 'postgres';
  /** Locks what a select returns, leaving out what another transaction holds. SQLite has one writer and needs none. */
  skipLocked<Q extends { forUpdate(): { skipLocked(): Q } }>(query: Q): Q;
  forUpdate<Q extends { forUpdate(): Q }>(query: Q): Q;
}

export type Request =
  | { readonly type: 'statement'; readonly statement: Statement<Params, unknown>; readonly params: Params }
  | { readonly type: 'query'; build(builder: QueryBuilder): Compilable<unknown> }
  | { readonly type: 'raw'; readonly sql: string; readonly params: readonly Value[] }
  | {
      readonly type: 'insert';
      readonly table: AnyTable;
      readonly rows: readonly Params[];
      readonly onConflict: 'fail' | 'ignore';
    }
  | {
      readonly type: 'update';
      readonly table: AnyTable;
      readonly key: readonly string[];
      readonly set: readonly string[];
      readonly rows: readonly Params[];
    }
  /** Adds amounts to the rows of these keys, which come to be with them where they are not there. No key twice. */
  | {
      readonly type: 'add';
      readonly table: AnyTable;
      readonly key: readonly string[];
      readonly added: readonly string[];
      readonly rows: readonly Params[];
    }
  | {
      readonly type: 'select';
      readonly table: AnyTable;
      readonly columns: readonly string[];
      readonly tenantId: string;
      readonly key: string;
      readonly keys: readonly string[];
      readonly orderBy: readonly string[];
      readonly lock: boolean;
    }
  | { readonly type: 'now' }
  /** Waits until the transaction may go on beside others that asked for the same key: many that share it, or one that does not. */
  | { readonly type: 'gate'; readonly key: string; readonly shared: boolean }
  /** Run in order and sent together; answered by `parts`. With `last`, nothing follows: the driver may send the end of the transaction with them. */
  | { readonly type: 'all'; readonly requests: readonly Request[]; readonly last: boolean };

/** Milliseconds since 1970 by the database's clock. */
export function* databaseNow(): Program<number> {
  const result = yield { type: 'now' };
  const [row] = result.rows as readonly { now: number }[]; // both drivers answer with this one row
  if (row === undefined) throw new Error('the database did not tell the time');
  return Number(row.now);
}

/** Passes the gate of a key until the transaction ends, see {@link Request}. SQLite has one writer and needs none. */
export function* passGate(key: string, { shared }: { readonly shared: boolean }): Program<void> {
  yield { type: 'gate', key, shared };
}

type Results<P extends readonly Program<unknown>[]> = { [K in keyof P]: P[K] extends Program<infer R> ? R : never };

/**
 * Runs programs side by side: what each asks for next goes to the database together, in their order, which saves
 * Postgres a round trip for each. None may depend on another's answer.
 */
export function* together<const P extends readonly Program<unknown>[]>(programs: P, options: { last?: boolean } = {}): Program<Results<P>> {
  const results: unknown[] = [];
  const last = options.last ?? false;
  let waiting = programs.flatMap((program, index) => advance(program, index, undefined, results));
  while (waiting.length > 0) {
    const [first] = waiting;
    if (first !== undefined && waiting.length === 1 && !last) {
      waiting = advance(first.program, first.index, yield first.request, results);
      continue;
    }
    const answer = yield { type: 'all', requests: waiting.map(({ request }) => request), last };
    waiting = waiting.flatMap(({ program, index }, position) => advance(program, index, answer.parts?.[position], results));
  }
  return results as unknown as Results<P>; // the result of each program stands at its index
}

function advance(program: Program<unknown>, index: number, answer: Result | undefined, results: unknown[]) {
  const step = answer === undefined ? program.next(nothing) : program.next(answer);
  if (!step.done) return [{ program, index, request: step.value }];
  results[index] = step.value;
  return [];
}

/** What a program is started with: the first `next` of a generator has nobody to receive it. */
const nothing: Result = { rows: [], changes: 0 };
