import type { Compilable } from 'kysely';
import type { Params, Program, QueryBuilder, Statement } from './program.ts';
import type { AnyTable, ColumnOf, DatabaseOf, Row } from './table.ts';

/** How the file of a table declares its queries: they see the tables that it names. */
interface Queries<D> {
  /** Declares a hot statement. `params` stand for values that come with each call. */
  statement<P extends Params, R>(name: string, build: (builder: QueryBuilder<D>, params: P) => Compilable<R>): Statement<P, R>;
  /** Rows of a query that is compiled for this call. */
  query<R>(build: (builder: QueryBuilder<D>) => Compilable<R>): Program<readonly R[]>;
}

const queries: Queries<unknown> = {
  statement: (name, build) => ({ name, build }),
  *query<R>(build: (builder: QueryBuilder) => Compilable<R>): Program<readonly R[]> {
    const result = yield { type: 'query', build };
    return result.rows as readonly R[]; // Kysely derived R from the same query
  },
};

/** The queries of a file, which see only the named tables. The tables are there for their types. */
export function queriesOn<const T extends readonly AnyTable[]>(..._tables: T): Queries<DatabaseOf<T[number]>> {
  return queries as unknown as Queries<DatabaseOf<T[number]>>; // the builder only compiles: it takes whatever tables there are
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

/** Inserts all rows with one statement, in the given order. */
export function* insertMany<T extends AnyTable>(
  table: T,
  rows: readonly Row<T>[],
  onConflict: 'fail' | 'ignore' = 'fail',
): Program<number> {
  if (rows.length === 0) return 0;
  const result = yield { type: 'insert', table, rows, onConflict };
  return result.changes;
}

/** Writes the `set` columns of rows that exist. The rows are complete, and the caller holds their locks. */
export function* updateMany<T extends AnyTable>(
  table: T,
  key: readonly ColumnOf<T>[],
  set: readonly ColumnOf<T>[],
  rows: readonly Row<T>[],
): Program<number> {
  if (rows.length === 0) return 0;
  const result = yield { type: 'update', table, key, set, rows };
  return result.changes;
}

/**
 * Adds the `added` columns to those of the rows with the same key, or makes the row. No key comes twice; the rows are locked in the order
 * that they are given in.
 */
export function* addMany<T extends AnyTable>(
  table: T,
  key: readonly ColumnOf<T>[],
  added: readonly ColumnOf<T>[],
  rows: readonly Row<T>[],
): Program<number> {
  if (rows.length === 0) return 0;
  const result = yield { type: 'add', table, key, added, rows };
  return result.changes;
}

/** The tenant's rows whose `key` column is one of `keys`; with `lock`, locked in the order of the keys and then of `orderBy`. */
export function* selectMany<T extends AnyTable, C extends ColumnOf<T>>(
  table: T,
  columns: readonly C[],
  where: { tenantId: string; key: C; keys: Iterable<string>; orderBy: readonly C[]; lock: boolean },
): Program<readonly Pick<Row<T>, C>[]> {
  const keys = [...new Set(where.keys)].sort();
  if (keys.length === 0) return [];
  const result = yield { type: 'select', table, columns, ...where, keys };
  return result.rows as readonly Pick<Row<T>, C>[]; // exactly these columns were selected
}
