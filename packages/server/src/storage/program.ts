import type { Compilable, Kysely } from 'kysely';
import type { Database, Row, TableName } from './schema.ts';

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
}

export type Params = Readonly<Record<string, Value>>;

/** A query that is built and compiled once per store: `build` must not depend on the values. */
export interface Statement<P extends Params, R> {
  readonly name: string;
  build(db: QueryBuilder, params: P): Compilable<R>;
}

/** Kysely, used to compile only, with what differs between the databases. */
export interface QueryBuilder {
  readonly db: Kysely<Database>;
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
      readonly table: TableName;
      readonly rows: readonly Params[];
      readonly onConflict: 'fail' | 'ignore';
    }
  | {
      readonly type: 'update';
      readonly table: TableName;
      readonly key: readonly string[];
      readonly set: readonly string[];
      readonly rows: readonly Params[];
    }
  | {
      readonly type: 'select';
      readonly table: TableName;
      readonly columns: readonly string[];
      readonly tenantId: string;
      readonly key: string;
      readonly keys: readonly string[];
      readonly orderBy: readonly string[];
      readonly lock: boolean;
    }
  | { readonly type: 'now' };

/** Declares a hot statement. `params` stand for values that come with each call. */
export function statement<P extends Params, R>(name: string, build: (builder: QueryBuilder, params: P) => Compilable<R>): Statement<P, R> {
  return { name, build };
}

/** Rows of a hot statement. */
export function* run<P extends Params, R>(of: Statement<P, R>, params: P): Program<readonly R[]> {
  // a statement only ever sees the placeholders of its own parameters
  const result = yield { type: 'statement', statement: of as unknown as Statement<Params, unknown>, params };
  return result.rows as readonly R[]; // Kysely derived R from the same query
}

/** The number of rows that a hot statement wrote. */
export function* change<P extends Params, R>(of: Statement<P, R>, params: P): Program<number> {
  // as in `run`
  const result = yield { type: 'statement', statement: of as unknown as Statement<Params, unknown>, params };
  return result.changes;
}

/** Rows of a query that is compiled for this call. */
export function* query<R>(build: (builder: QueryBuilder) => Compilable<R>): Program<readonly R[]> {
  const result = yield { type: 'query', build };
  return result.rows as readonly R[]; // Kysely derived R from the same query
}

/** Inserts all rows with one statement, in the given order. */
export function* insertMany<T extends TableName>(
  table: T,
  rows: readonly Row<T>[],
  onConflict: 'fail' | 'ignore' = 'fail',
): Program<number> {
  if (rows.length === 0) return 0;
  const result = yield { type: 'insert', table, rows: rows as readonly Params[], onConflict }; // every column is a Value
  return result.changes;
}

/** Updates all rows by their key with one statement. The caller holds their locks. */
export function* updateMany<T extends TableName, C extends keyof Row<T> & string>(
  table: T,
  key: readonly C[],
  set: readonly C[],
  rows: readonly Pick<Row<T>, C>[],
): Program<number> {
  if (rows.length === 0) return 0;
  const result = yield { type: 'update', table, key, set, rows: rows as unknown as readonly Params[] }; // every column is a Value
  return result.changes;
}

/** The tenant's rows whose `key` column is one of `keys`; with `lock`, locked in the order of `orderBy`. */
export function* selectMany<T extends TableName, C extends keyof Row<T> & string>(
  table: T,
  columns: readonly C[],
  where: { tenantId: string; key: C; keys: Iterable<string>; orderBy: readonly C[]; lock: boolean },
): Program<readonly Pick<Row<T>, C>[]> {
  const keys = [...new Set(where.keys)].sort();
  if (keys.length === 0) return [];
  const result = yield { type: 'select', table, columns, ...where, keys };
  return result.rows as readonly Pick<Row<T>, C>[]; // exactly these columns were selected
}

/** Milliseconds since 1970 by the database's clock. */
export function* databaseNow(): Program<number> {
  const result = yield { type: 'now' };
  const [row] = result.rows as readonly { now: number }[]; // both drivers answer with this one row
  if (row === undefined) throw new Error('the database did not tell the time');
  return Number(row.now);
}
