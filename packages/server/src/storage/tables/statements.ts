/** Statements that are written as text, for what is said more plainly in SQL than by a builder. */
import type { RawBuilder } from 'kysely';
import type { Program, QueryBuilder } from '#storage/program';

/** The number of rows that the statement wrote. */
export function* write(statement: RawBuilder<unknown>): Program<number> {
  const result = yield { type: 'query', build: ({ db }: QueryBuilder) => ({ compile: () => statement.compile(db) }) };
  return result.changes;
}

export function* rowsOf<R>(statement: RawBuilder<R>): Program<readonly R[]> {
  const result = yield { type: 'query', build: ({ db }: QueryBuilder) => ({ compile: () => statement.compile(db) }) };
  return result.rows as readonly R[]; // the columns that the statement names
}
