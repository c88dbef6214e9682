import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Clock } from '#core';
import type { Driver, DriverLimits, Program, Request, Result, Value } from '#storage/program';
import { checkSchema, migrateSchema } from '../migrations/index.ts';
import { createCompiler } from './compile.ts';
import { deadlineIn } from './deadline.ts';
import { createSqliteDialect, sqliteSets } from './dialects.ts';
import { DatabaseFailure, sqliteFailure } from './failures.ts';
import { explainSqlite } from './openings.ts';
import { withRetries } from './retry.ts';
import { watchSqliteFiles } from './sqlite-files.ts';

export interface SqliteOptions {
  /** The directory of the database file, made when missing. Absent: in memory. */
  readonly dataDir?: string;
  /** `FULL` also survives a power cut; `NORMAL` survives the death of the process. */
  readonly synchronous: 'NORMAL' | 'FULL';
  /** How long another process may hold the database before a change fails. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** The schema is left as it is, and must be this version's. */
  readonly asIs?: boolean;
}

interface Prepared {
  readonly statement: StatementSync;
  /** It returns rows, so it must be run with `all`. */
  readonly answers: boolean;
}

/**
 * The embedded database. Each program runs to its end in one go, so that none sees another's half-done transaction.
 * When another process holds the write lock the thread waits for a few milliseconds only; longer waits are timers.
 */
export async function openSqlite(options: SqliteOptions): Promise<Driver> {
  const { clock, timeoutMs } = options;
  const folder = options.dataDir ?? '';
  const path = options.dataDir === undefined ? ':memory:' : join(options.dataDir, 'nexus.db');
  const database = openFile();
  const dialect = createSqliteDialect();
  const repeating = <R>(work: () => R, withinMs = timeoutMs) =>
    withRetries({ failureOf: sqliteFailure, conflicts: 5, outages: 0, deadline: deadlineIn(withinMs) }, work);

  function openFile(): DatabaseSync {
    try {
      if (options.dataDir !== undefined) {
        mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
        // SQLite makes the files beside it with the permissions of this one.
        if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
      }
      return new DatabaseSync(path, { timeout: 10 });
    } catch (error) {
      throw explainSqlite(error, { path, folder });
    }
  }

  const prepared = new Map<string, Prepared>();
  function prepare(sql: string): Prepared {
    let statement = prepared.get(sql);
    if (statement === undefined) {
      if (prepared.size >= 500) prepared.clear(); // lists with filters make new texts; hot ones return at once
      const created = database.prepare(sql);
      statement = { statement: created, answers: created.columns().length > 0 };
      prepared.set(sql, statement);
    }
    return statement;
  }

  const compile = createCompiler(dialect.builder);
  function execute(request: Request): Result {
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
      case 'update': {
        const { sql, columns } = request.type === 'insert' ? sqliteSets.insert(request) : sqliteSets.update(request);
        const { statement } = prepare(sql);
        let changes = 0;
        for (const row of request.rows) changes += Number(statement.run(...columns.map((name) => row[name] ?? null)).changes);
        return { rows: [], changes };
      }
      case 'select': {
        const { statement } = prepare(sqliteSets.select(request));
        return { rows: request.keys.flatMap((key) => statement.all(request.tenantId, key)), changes: 0 };
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
    const { statement, answers } = prepare(sql);
    if (answers) {
      const rows = statement.all(...values);
      return { rows, changes: rows.length };
    }
    return { rows: [], changes: Number(statement.run(...values).changes) };
  }

  function drive<R>(program: Program<R>): R {
    let step = program.next();
    while (!step.done) step = program.next(execute(step.value));
    return step.value;
  }

  let requireFiles: () => void = () => undefined;
  let givenUp = false;
  const whileOpen = <R>(work: () => R, { withinMs }: DriverLimits = {}) =>
    repeating(() => {
      if (givenUp) throw new DatabaseFailure('outage', 'the store is closed');
      return work();
    }, withinMs);

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

  try {
    await repeating(() => {
      database.exec(`pragma journal_mode = wal; pragma synchronous = ${options.synchronous}; pragma foreign_keys = off;
        pragma cache_size = -16000; pragma temp_store = memory; pragma journal_size_limit = 67108864;`);
    });
    await repeating(() => transact(options.asIs ? checkSchema() : migrateSchema(dialect.migrationTypes, clock.now())));
    if (options.dataDir !== undefined) requireFiles = watchSqliteFiles(path);
  } catch (error) {
    database.close();
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
      prepared.clear();
      if (database.isOpen) database.close();
    },
  };
}
