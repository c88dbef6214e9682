import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Clock, Timers } from '#core';
import type { Driver, DriverLimits, Params, Program, Request, Result, Value } from '#storage/program';
import { checkSchema, migrateSchema } from '../migrations/index.ts';
import { createCompiler } from './compile.ts';
import { deadlineIn } from './deadline.ts';
import { createSqliteDialect, sqliteSets } from './dialects.ts';
import { DatabaseFailure, sqliteFailure } from './failures.ts';
import { explainSqlite } from './openings.ts';
import { withRetries } from './retry.ts';
import { endLeasesWhenAlone } from './sqlite-alone.ts';
import { watchSqliteFiles } from './sqlite-files.ts';
import { settleStatistics } from './sqlite-statistics.ts';
import { createThreadTurns, type ThreadTurns } from './turns.ts';

export interface SqliteOptions {
  /** The directory of the database file, made when missing. Absent: in memory. */
  readonly dataDir?: string;
  /** `FULL` also survives a power cut; `NORMAL` survives the death of the process. */
  readonly synchronous: 'NORMAL' | 'FULL';
  /** How long another process may hold the database before a change fails. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Given, programs take turns with everything else on the thread; see {@link createThreadTurns}. */
  readonly timers?: Pick<Timers, 'soon'>;
  /** The schema is left as it is, and must be this version's. */
  readonly asIs?: boolean;
  /** Ends the wait for whoever holds the database while it is being opened. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Pages of the log, of 4 KB, that are gathered before they are brought into the file. A page that many commits change is brought there once;
 * and so much is looked through when the database is opened after the process died.
 */
const checkpointPages = 4_000;

interface Prepared {
  readonly statement: StatementSync;
  /** Of the rows that it returns. With any, it must be run with `all`. */
  readonly columns: readonly string[];
}

/**
 * The embedded database. Each program runs to its end in one go, so that none sees another's half-done transaction.
 * When another process holds the write lock the thread waits for a few milliseconds only; longer waits are timers.
 */
export async function openSqlite(options: SqliteOptions): Promise<Driver> {
  const { clock, timeoutMs } = options;
  const folder = options.dataDir ?? '';
  const path = options.dataDir === undefined ? ':memory:' : join(options.dataDir, 'nexus.db');
  if (options.dataDir !== undefined && options.asIs !== true) endLeasesWhenAlone(path, clock.now());
  const database = openFile({ dataDir: options.dataDir, path, folder });
  const dialect = createSqliteDialect();
  const repeating = <R>(work: () => R | Promise<R>, withinMs = timeoutMs) =>
    withRetries({ failureOf: sqliteFailure, conflicts: 5, outages: 0, deadline: deadlineIn(withinMs) }, work);

  const known = new Map<string, Prepared>();
  function prepare(sql: string): Prepared {
    let prepared = known.get(sql);
    if (prepared === undefined) {
      if (known.size >= 500) known.clear(); // lists with filters make new texts; hot ones return at once
      const created = database.prepare(sql);
      created.setReturnArrays(true);
      prepared = { statement: created, columns: created.columns().map(({ name }) => name) };
      known.set(sql, prepared);
    }
    return prepared;
  }

  const turns: ThreadTurns = options.timers === undefined ? untimed : createThreadTurns(options.timers.soon);
  const compile = createCompiler(dialect.builder);
  function execute(request: Request): Result {
    const result = carryOut(request);
    if (request.type !== 'all') turns.spend(1 + Math.max(result.rows.length, result.changes));
    return result;
  }

  function carryOut(request: Request): Result {
    switch (request.type) {
      case 'statement': {
        const { sql, bind } = compile(request.statement);
        return runOne(sql, bind(request.params));
      }
      case 'query': {
        const { sql, parameters } = request.build(dialect.builder).compile();
        return runOne(sql, parameters as Value[]); // queries are built from the values of columns
      }
      case 'raw':
        return runOne(request.sql, request.params);
      case 'insert':
      case 'add':
      case 'update': {
        const { sql, columns } = setOf(request);
        const { statement } = prepare(sql);
        return { rows: [], changes: writeRows(statement, columns, request.rows) };
      }
      case 'select': {
        const prepared = prepare(sqliteSets.select(request));
        const rows: unknown[] = [];
        for (const key of request.keys) addRows(prepared, [request.tenantId, key], rows);
        return { rows, changes: 0 };
      }
      case 'now':
        return { rows: [{ now: clock.now() }], changes: 0 };
      case 'gate':
        return { rows: [], changes: 0 };
      case 'all':
        return { rows: [], changes: 0, parts: request.requests.map(execute) };
      default:
        return request satisfies never;
    }
  }

  function runOne(sql: string, values: readonly Value[]): Result {
    const prepared = prepare(sql);
    if (prepared.columns.length > 0) {
      const rows = addRows(prepared, values, []);
      return { rows, changes: rows.length };
    }
    return { rows: [], changes: Number(prepared.statement.run(...values).changes) };
  }

  function drive<R>(program: Program<R>): R {
    let step = program.next();
    while (!step.done) step = program.next(execute(step.value));
    return step.value;
  }

  let requireFiles: () => void = () => undefined;
  let givenUp = false;
  const whileOpen = <R>(work: () => R, { withinMs, when }: DriverLimits = {}) =>
    repeating(
      () =>
        turns.run(() => {
          if (givenUp) throw new DatabaseFailure('outage', 'the store is closed');
          return work();
        }, when),
      withinMs,
    );

  function transact<R>(program: Program<R>): R {
    requireFiles();
    prepare('begin immediate').statement.run();
    try {
      const result = drive(program);
      prepare('commit').statement.run();
      return result;
    } catch (error) {
      rollBack();
      throw error;
    }
  }

  /** What failed before is what is said: after some failures there is nothing left to roll back. */
  function rollBack(): void {
    try {
      if (database.isTransaction) prepare('rollback').statement.run();
    } catch {
      // A transaction that cannot be rolled back is ended by SQLite when the next one begins to fail; the first error says more.
    }
  }

  const opening = <R>(work: () => R) =>
    withRetries({ failureOf: sqliteFailure, conflicts: 5, outages: 0, deadline: deadlineIn(timeoutMs), signal: options.signal }, work);
  try {
    await opening(() => {
      database.exec(`pragma journal_mode = wal; pragma synchronous = ${options.synchronous}; pragma foreign_keys = off;
        pragma cache_size = -16000; pragma temp_store = memory;
        pragma wal_autocheckpoint = ${checkpointPages}; pragma journal_size_limit = 67108864;`);
    });
    await opening(() => transact(options.asIs ? checkSchema() : migrateSchema(dialect.migrationTypes, clock.now())));
    if (!options.asIs) await opening(() => transact(settleStatistics()));
    if (options.dataDir !== undefined) requireFiles = watchSqliteFiles(path);
  } catch (error) {
    database.close();
    options.signal?.throwIfAborted();
    throw explainSqlite(error, { path, folder });
  }

  return {
    dialect: 'sqlite',
    read: (start, limits) => whileOpen(() => drive(start()), limits),
    write: (start, limits) => whileOpen(() => transact(start()), limits),
    giveUp() {
      givenUp = true;
    },
    // There is one, and it is asked from one thread, which waits for no other.
    pool: () => ({ inUse: 0, idle: 1, waiting: 0 }),
    async close() {
      known.clear();
      if (database.isOpen) database.close();
    },
  };
}

function setOf(request: Extract<Request, { type: 'insert' | 'add' | 'update' }>) {
  switch (request.type) {
    case 'insert':
      return sqliteSets.insert(request);
    case 'add':
      return sqliteSets.add(request);
    case 'update':
      return sqliteSets.update(request);
  }
}

function openFile({ dataDir, path, folder }: { dataDir: string | undefined; path: string; folder: string }): DatabaseSync {
  try {
    if (dataDir !== undefined) {
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      // SQLite makes the files beside it with the permissions of this one.
      if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
    }
    return new DatabaseSync(path, { timeout: 10 });
  } catch (error) {
    throw explainSqlite(error, { path, folder });
  }
}

/** Runs the statement for each of the rows; the number that it wrote. */
function writeRows(statement: StatementSync, columns: readonly string[], rows: readonly Params[]): number {
  const values: Value[] = new Array(columns.length).fill(null);
  let changes = 0;
  for (const row of rows) {
    for (let index = 0; index < columns.length; index++) values[index] = row[columns[index] as string] ?? null; // within its length
    changes += Number(statement.run(...values).changes);
  }
  return changes;
}

/**
 * Node makes objects of rows that are slow to make and to read: dictionaries without a prototype. These share their shape with the
 * other rows of the query.
 */
function addRows({ statement, columns }: Prepared, values: readonly Value[], rows: unknown[]): unknown[] {
  const found = statement.all(...values) as unknown as readonly Value[][]; // it was told to answer with arrays
  for (const cells of found) {
    const row: Record<string, Value> = {};
    for (let index = 0; index < columns.length; index++) row[columns[index] as string] = cells[index] as Value; // as many as there are columns
    rows.push(row);
  }
  return rows;
}

/** Everything at once, for whoever owns the turns of the thread itself. */
const untimed: ThreadTurns = { spend: () => undefined, run: async (work) => work() };
