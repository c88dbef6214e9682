/**
 * A table as a value: its columns give the types of its rows, and the Postgres record types of set-wise writes. Times are
 * milliseconds since 1970, `json` is JSON text in both databases, booleans are 0 or 1.
 */
export type ColumnType = 'text' | 'text?' | 'int' | 'int?';

export interface Table<N extends string, C extends Readonly<Record<string, ColumnType>>> {
  readonly name: N;
  readonly columns: C;
}
export type AnyTable = Table<string, Readonly<Record<string, ColumnType>>>;

type ColumnValue<C> = C extends 'text' ? string : C extends 'text?' ? string | null : C extends 'int' ? number : number | null;

export type Row<T extends AnyTable> = { -readonly [C in keyof T['columns']]: ColumnValue<T['columns'][C]> };
export type ColumnOf<T extends AnyTable> = keyof T['columns'] & string;
/** What Kysely knows of a database that holds these tables. */
export type DatabaseOf<T extends AnyTable> = { [K in T as K['name']]: Row<K> };

export function defineTable<N extends string, const C extends Readonly<Record<string, ColumnType>>>(name: N, columns: C): Table<N, C> {
  return { name, columns };
}

/** Names of all its columns. */
export function columnsOf<T extends AnyTable>(table: T): readonly ColumnOf<T>[] {
  return Object.keys(table.columns) as ColumnOf<T>[]; // the keys of the literal that it was defined with
}
