import type { Pool, PoolClient } from 'pg';
import { type Clock, NexusError } from '#core';
import type { Driver, Program, Request, Result, Value } from '#storage/program';
import { migrateSchema } from '../migrations/index.ts';
import { createCompiler } from './compile.ts';
import { createPostgresDialect, postgresSets } from './dialects.ts';
import { withRetries } from './retry.ts';

export interface PostgresOptions {
  readonly url: string;
  readonly maxConnections: number;
  readonly clock: Clock;
}

/** Any number, the same in every version: it names the right to migrate. */
const migrationLock = 4_815_162_342;

/** Numbers of 64 bits arrive as numbers: no amount or time exceeds 2^53. */
const types = {
  getTypeParser: (oid: number, format?: string) =>
    format !== 'binary' && numeric.has(oid) ? (value: string) => Number(value) : (value: string) => value,
};
const numeric: ReadonlySet<number> = new Set([20, 21, 23, 1700]); // int8, int2, int4, numeric

export async function openPostgres({ url, maxConnections, clock }: PostgresOptions): Promise<Driver> {
  // Loaded here: a server on the embedded database never pays for it.
  const { default: pg } = await import('pg');
  const pool: Pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    idleTimeoutMillis: 30_000,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    application_name: 'nexus-agent',
    // A process that is stopped in mid-transaction must not hold its locks against those that take over.
    idle_in_transaction_session_timeout: 3000,
    // A plan that is kept from when the tables were empty reads a whole tenant for each key until the next ANALYZE.
    options: '-c plan_cache_mode=force_custom_plan',
    types,
    pipeline: true,
  });
  // The pool drops the connection that broke while idle; whoever asks next gets a new one or the error.
  pool.on('error', () => {});
  // One that breaks while it is in use fails its queries; the event besides would end the process if nobody heard it.
  pool.on('connect', (client) => client.on('error', () => {}));
  const dialect = createPostgresDialect();
  const retry = { classify: dialect.classify, busyMs: 10_000, conflicts: 5, losses: 2 };
  const compile = createCompiler(dialect.builder);

  async function execute(client: Pool | PoolClient, request: Request): Promise<Result> {
    switch (request.type) {
      case 'statement': {
        const { sql, bind } = compile(request.statement);
        return prepared(client, sql, bind(request.params));
      }
      case 'query': {
        const { sql, parameters } = request.build(dialect.builder).compile();
        return answer(await client.query(sql, [...parameters]));
      }
      case 'raw':
        return answer(await client.query(request.sql, [...request.params]));
      case 'insert':
        return prepared(client, postgresSets.insert(request), [JSON.stringify(request.rows)]);
      case 'update':
        return prepared(client, postgresSets.update(request), [JSON.stringify(request.rows)]);
      case 'select':
        return prepared(client, postgresSets.select(request), [request.tenantId, request.keys]);
      case 'now':
        return prepared(client, 'select (extract(epoch from clock_timestamp()) * 1000)::bigint as now', []);
      case 'all':
        return { rows: [], changes: 0, parts: await inOrder(request.requests.map((each) => execute(client, each))) };
      default:
        return request satisfies never;
    }
  }

  const names = new Map<string, string>();
  /** A statement that each connection parses once. Its texts are few: they do not depend on values. */
  async function prepared(client: Pool | PoolClient, text: string, values: readonly (Value | readonly string[])[]): Promise<Result> {
    let name = names.get(text);
    if (name === undefined) {
      name = `nexus_${names.size}`;
      names.set(text, name);
    }
    return answer(await client.query({ name, text, values: [...values] }));
  }

  async function drive<R>(client: Pool | PoolClient, program: Program<R>): Promise<R> {
    let step = program.next();
    while (!step.done) step = program.next(await execute(client, step.value));
    return step.value;
  }

  /** `prepare` is run first inside the transaction and may wait for a lock. */
  async function transact<R>(start: () => Program<R>, prepare?: string): Promise<R> {
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      // Sent ahead of the first request, which fails when this does.
      const begun = client.query('begin isolation level read committed');
      begun.catch(() => {});
      if (prepare !== undefined) await client.query(prepare);
      const program = start();
      let committed = false;
      let step = program.next();
      while (!step.done) {
        if (committed) throw new Error('a program asked for more after its last request');
        committed = step.value.type === 'all' && step.value.last;
        step = program.next(committed ? await finish(client, step.value) : await execute(client, step.value));
      }
      if (!committed) await finish(client, { type: 'all', requests: [], last: true });
      return step.value;
    } catch (error) {
      try {
        await client.query('rollback');
      } catch (cause) {
        broken = cause instanceof Error ? cause : new Error(String(cause));
      }
      throw error;
    } finally {
      client.release(broken);
    }
  }

  /**
   * Sends the last requests and COMMIT together. A connection that is lost now leaves it open whether the change
   * happened, so that it must not be repeated blindly.
   */
  async function finish(client: PoolClient, request: Request): Promise<Result> {
    const requested = execute(client, request);
    const committed = client.query('commit');
    const [answered, ended] = await Promise.allSettled([requested, committed]);
    for (const each of [answered, ended]) {
      if (each.status === 'fulfilled') continue;
      if (dialect.classify(each.reason) !== 'lost') throw each.reason;
      const message = 'the connection was lost while a change was written; it may have happened';
      throw new NexusError('storage_unavailable', message, { cause: each.reason });
    }
    // Postgres answers the commit of a failed transaction with a rollback, and with success.
    if (ended.status === 'fulfilled' && ended.value.command !== 'COMMIT') {
      throw new NexusError('internal', 'a transaction was rolled back instead of committed');
    }
    return answered.status === 'fulfilled' ? answered.value : { rows: [], changes: 0 };
  }

  try {
    await withRetries(retry, () =>
      transact(() => migrateSchema(dialect.migrationTypes, clock.now()), `select pg_advisory_xact_lock(${migrationLock})`),
    );
  } catch (error) {
    await pool.end();
    throw error;
  }

  return {
    dialect: 'postgres',
    read: (start) => withRetries(retry, () => drive(pool, start())),
    write: (start) => withRetries(retry, () => transact(start)),
    close: () => pool.end(),
  };
}

/** Waits for all, then throws the first failure: the later ones only say that the transaction had failed. */
async function inOrder<R>(promises: readonly Promise<R>[]): Promise<R[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((each) => {
    if (each.status === 'rejected') throw each.reason;
    return each.value;
  });
}

function answer(result: { rows: unknown[]; rowCount: number | null }): Result {
  return { rows: result.rows, changes: result.rowCount ?? 0 };
}
