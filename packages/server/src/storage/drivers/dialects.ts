import {
  type Dialect,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { type AnyTable, columnsOf, type DatabaseOf, type DialectParts, type QueryBuilder, type Request } from '#storage/program';
import type { tables } from '#storage/tables';
import type { MigrationTypes } from '../migrations/migration.ts';

/** Everything in which the two databases differ, apart from how a connection is held. */
export interface DatabaseDialect {
  readonly builder: QueryBuilder;
  readonly migrationTypes: MigrationTypes;
}

type Database = DatabaseOf<(typeof tables)[number]>;

/** Kysely only compiles here: the drivers run the statements. */
function compileOnly(dialect: Pick<Dialect, 'createAdapter' | 'createIntrospector' | 'createQueryCompiler'>): Kysely<unknown> {
  const db = new Kysely<Database>({ dialect: { ...dialect, createDriver: () => new DummyDriver() } });
  return db as unknown as Kysely<unknown>; // each query names those of the tables that it sees
}

export function createSqliteDialect(): DatabaseDialect {
  const parts: DialectParts = { name: 'sqlite', skipLocked: (query) => query, forUpdate: (query) => query };
  const db = compileOnly({
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (kysely) => new SqliteIntrospector(kysely),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  });
  return {
    builder: { db, dialect: parts },
    migrationTypes: {
      text: 'text',
      clustered: ' without rowid',
      numberIn: (column, key) => `coalesce(json_extract(${column}, '$.${key}'), 0)`,
      dayOf: (column) => `date(${column} / 1000, 'unixepoch')`,
    },
  };
}

export function createPostgresDialect(): DatabaseDialect {
  const parts: DialectParts = {
    name: 'postgres',
    skipLocked: (query) => query.forUpdate().skipLocked(),
    forUpdate: (query) => query.forUpdate(),
  };
  const db = compileOnly({
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: (kysely) => new PostgresIntrospector(kysely),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  });
  return {
    builder: { db, dialect: parts },
    migrationTypes: {
      text: 'text collate "C"',
      clustered: '',
      numberIn: (column, key) => `coalesce((${column}::json ->> '${key}')::bigint, 0)`,
      dayOf: (column) => `to_char(to_timestamp(${column} / 1000) at time zone 'UTC', 'YYYY-MM-DD')`,
    },
  };
}

type InsertRequest = Extract<Request, { type: 'insert' }>;
type AddRequest = Extract<Request, { type: 'add' }>;
type UpdateRequest = Extract<Request, { type: 'update' }>;
type SelectRequest = Extract<Request, { type: 'select' }>;

const quote = (name: string) => `"${name}"`;
const list = (names: readonly string[]) => names.map(quote).join(', ');
/** Remembers the text of each shape of request: there is one or two for each table. */
function remember<R, T>(key: (request: R) => string, build: (request: R) => T): (request: R) => T {
  const built = new Map<string, T>();
  return (request) => {
    const name = key(request);
    let value = built.get(name);
    if (value === undefined) {
      value = build(request);
      built.set(name, value);
    }
    return value;
  };
}
const insertKey = (request: InsertRequest) => `${request.table.name} ${request.onConflict}`;
const updateKey = (request: UpdateRequest) => `${request.table.name} ${request.key} ${request.set}`;
const selectKey = (request: SelectRequest) => `${request.table.name} ${request.key} ${request.columns} ${request.orderBy} ${request.lock}`;
const addKey = (request: AddRequest) => `${request.table.name} ${request.key} ${request.added}`;
/** What becomes of a row that is there already. */
const adding = ({ table, key, added }: AddRequest) =>
  ` on conflict (${list(key)}) do update set ${added.map((name) => `${quote(name)} = ${quote(table.name)}.${quote(name)} + excluded.${quote(name)}`).join(', ')}`;
const ignoring = (request: InsertRequest) => (request.onConflict === 'ignore' ? ' on conflict do nothing' : '');

/** SQLite writes a set row by row: inside a process, a prepared statement per row is the fastest way. */
export const sqliteSets = {
  /** Parameters: the table's columns in order. */
  insert: remember(insertKey, (request) => {
    const columns = columnsOf(request.table);
    const places = columns.map(() => '?').join(', ');
    return { sql: `insert into ${quote(request.table.name)} (${list(columns)}) values (${places})${ignoring(request)}`, columns };
  }),
  /** Parameters: the table's columns in order. */
  add: remember(addKey, (request) => {
    const columns = columnsOf(request.table);
    const places = columns.map(() => '?').join(', ');
    return { sql: `insert into ${quote(request.table.name)} (${list(columns)}) values (${places})${adding(request)}`, columns };
  }),
  /** Parameters: the `set` columns, then the key columns. */
  update: remember(updateKey, (request) => {
    const assignments = request.set.map((name) => `${quote(name)} = ?`).join(', ');
    const condition = request.key.map((name) => `${quote(name)} = ?`).join(' and ');
    return {
      sql: `update ${quote(request.table.name)} set ${assignments} where ${condition}`,
      columns: [...request.set, ...request.key],
    };
  }),
  /** Parameters: tenant, key. */
  select: remember(
    selectKey,
    (request) => `select ${list(request.columns)} from ${quote(request.table.name)} where "tenant_id" = ? and ${quote(request.key)} = ?`,
  ),
};

/** Postgres takes a whole set as one JSON parameter: one statement text per table, prepared once per connection. */
export const postgresSets = {
  insert: remember(insertKey, (request) => {
    const columns = columnsOf(request.table);
    return `insert into ${quote(request.table.name)} (${list(columns)}) select ${list(columns)} from ${recordset(request.table)}${ignoring(request)}`;
  }),
  add: remember(addKey, (request) => {
    const columns = columnsOf(request.table);
    return `insert into ${quote(request.table.name)} (${list(columns)}) select ${list(columns)} from ${recordset(request.table)}${adding(request)}`;
  }),
  /**
   * The rows exist, so that each is found as a conflict, by the index of its key. A join of the set with the table
   * would be planned once, for a table that is still empty, and then read all of a large one.
   */
  update: remember(updateKey, (request) => {
    const columns = columnsOf(request.table);
    const assignments = request.set.map((name) => `${quote(name)} = excluded.${quote(name)}`).join(', ');
    const source = `select ${list(columns)} from ${recordset(request.table)}`;
    return `insert into ${quote(request.table.name)} (${list(columns)}) ${source} on conflict (${list(request.key)}) do update set ${assignments}`;
  }),
  /**
   * Parameters: tenant, array of keys. The subquery runs for each key in turn (`offset 0` keeps it apart), so that rows
   * are locked in the order of the keys and read by the primary key, whatever the planner believes of the table.
   */
  select: remember(selectKey, (request) => {
    const condition = `"tenant_id" = $1 and ${quote(request.key)} = k.key`;
    const order = request.orderBy.length > 0 ? ` order by ${list(request.orderBy)}` : '';
    const inner = `select ${list(request.columns)} from ${quote(request.table.name)} where ${condition}${order} offset 0`;
    return `select r.* from unnest($2::text[]) as k(key), lateral (${inner}${request.lock ? ' for update' : ''}) as r`;
  }),
};

function recordset({ columns }: AnyTable): string {
  const typed = Object.entries(columns).map(([name, type]) => `${quote(name)} ${type.startsWith('int') ? 'bigint' : 'text'}`);
  return `json_to_recordset($1::json) as x(${typed.join(', ')})`;
}
