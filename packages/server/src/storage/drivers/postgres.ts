import { type Clock, NexusError } from '#core';
import type { Driver, Program, Request, Result, Value } from '#storage/program';
import { checkSchema, migrateSchema } from '../migrations/index.ts';
import { createCompiler } from './compile.ts';
import type { TakenConnection } from './connections.ts';
import { type Deadline, deadlineIn } from './deadline.ts';
import { createPostgresDialect, postgresSets } from './dialects.ts';
import { DatabaseFailure } from './failures.ts';
import { explainPostgres } from './openings.ts';
import { withRetries } from './retry.ts';
import { connectPostgres, givingUp, retrying, serverLimits, uncompiled, using } from './sessions.ts';

export interface PostgresOptions {
  readonly url: string;
  readonly maxConnections: number;
  /** Whatever is asked of the database is answered, or has failed, after so long: connecting, waiting and repeating included. */
  readonly timeoutMs: number;
  /** The same for bringing the schema up to date. */
  readonly migrationTimeoutMs: number;
  readonly clock: Clock;
  /** The schema is left as it is, and must be this version's. */
  readonly asIs?: boolean;
  /** Hears, while the database is being opened, of what works less well than it could. */
  readonly onNotice: (message: string) => void;
  /** Ends the opening, also the wait for whoever migrates: what this had migrated is undone. */
  readonly signal?: AbortSignal | undefined;
}

/** Any number, the same in every version: it names the right to migrate. */
const migrationLock = 4_815_162_342;
/** The same in every version: two keys with the same hash only wait for each other for nothing. */
const gateSeed = 2_718_281_828;
const poolerNotice =
  'a pooler in transaction mode stands before the database: settings go with each transaction, and notifications do not pass, so that ' +
  'other processes hear of changes by looking; a direct connection or NEXUS_REDIS_URL makes live text fast again';

export async function openPostgres(options: PostgresOptions): Promise<Driver> {
  const { url, timeoutMs, migrationTimeoutMs, clock, onNotice, signal } = options;
  const dialect = createPostgresDialect();
  const compile = createCompiler(dialect.builder);
  const { connections, mode } = await connectPostgres(options);
  if (mode === 'pooled') onNotice(poolerNotice);

  async function execute(connection: TakenConnection, request: Request): Promise<Result> {
    switch (request.type) {
      case 'statement': {
        const { sql, bind } = compile(request.statement);
        return prepared(connection, sql, bind(request.params));
      }
      case 'query': {
        const { sql, parameters } = request.build(dialect.builder).compile();
        return answer(await connection.query({ text: sql, values: [...parameters] }));
      }
      case 'raw':
        return answer(await connection.query({ text: request.sql, values: [...request.params] }));
      case 'insert':
        return prepared(connection, postgresSets.insert(request), [JSON.stringify(request.rows)]);
      case 'add':
        return prepared(connection, postgresSets.add(request), [JSON.stringify(request.rows)]);
      case 'update':
        return prepared(connection, postgresSets.update(request), [JSON.stringify(request.rows)]);
      case 'select':
        return prepared(connection, postgresSets.select(request), [request.tenantId, request.keys]);
      case 'now':
        return prepared(connection, 'select (extract(epoch from clock_timestamp()) * 1000)::bigint as now', []);
      case 'gate':
        return prepared(connection, `select pg_advisory_xact_lock${request.shared ? '_shared' : ''}(hashtextextended($1, ${gateSeed}))`, [
          request.key,
        ]);
      case 'all':
        return { rows: [], changes: 0, parts: await inOrder(request.requests.map((each) => execute(connection, each))) };
      default:
        return request satisfies never;
    }
  }

  const names = new Map<string, string>();
  /** A statement that each connection parses once. Its texts are few: they do not depend on values. */
  async function prepared(connection: TakenConnection, text: string, values: readonly (Value | readonly string[])[]): Promise<Result> {
    let name = names.get(text);
    if (name === undefined) {
      name = `nexus_${names.size}`;
      names.set(text, name);
    }
    // A pooler hands the next transaction another session, which knows no names.
    return answer(await connection.query(mode === 'pooled' ? { text, values: [...values] } : { name, text, values: [...values] }));
  }

  async function drive<R>(connection: TakenConnection, program: Program<R>): Promise<R> {
    let step = program.next();
    while (!step.done) step = program.next(await execute(connection, step.value));
    return step.value;
  }

  /** `prepare` is run first inside the transaction and may wait for a lock. */
  async function transact<R>(deadline: Deadline, start: () => Program<R>, prepare?: string): Promise<R> {
    const connection = await connections.take(deadline);
    let clean = true;
    try {
      // Sent ahead of the first request, which fails when this does.
      connection.query(mode === 'pooled' ? `${begin};${settings({ ...serverLimits(timeoutMs), ...uncompiled })}` : begin).catch(() => {});
      if (prepare !== undefined) await connection.query(prepare);
      const program = start();
      let committed = false;
      let step = program.next();
      while (!step.done) {
        if (committed) throw new Error('a program asked for more after its last request');
        committed = step.value.type === 'all' && step.value.last;
        step = program.next(committed ? await finish(connection, step.value) : await execute(connection, step.value));
      }
      if (!committed) await finish(connection, { type: 'all', requests: [], last: true });
      return step.value;
    } catch (error) {
      clean = await rolledBack(connection, error);
      throw error;
    } finally {
      connection.giveBack(clean);
    }
  }

  /** False when the connection must not be used again: the server ends what is open on it once it is closed. */
  async function rolledBack(connection: TakenConnection, error: unknown): Promise<boolean> {
    const failure = error instanceof NexusError ? error.cause : error;
    if (failure instanceof DatabaseFailure && failure.doubtful) return false;
    return connection.query('rollback').then(
      () => true,
      () => false,
    );
  }

  /**
   * Sends the last requests and COMMIT together. A connection that is lost now leaves it open whether the change
   * happened, so that it must not be repeated blindly.
   */
  async function finish(connection: TakenConnection, request: Request): Promise<Result> {
    const requested = execute(connection, request);
    const committed = connection.query('commit');
    const [answered, ended] = await Promise.allSettled([requested, committed]);
    if (ended.status === 'fulfilled') {
      // Postgres answers the commit of a failed transaction with a rollback, and with success.
      if (answered.status === 'rejected') throw answered.reason;
      if (ended.value.command !== 'COMMIT') throw new NexusError('internal', 'a transaction was rolled back instead of committed');
      return answered.value;
    }
    const reason: unknown = answered.status === 'rejected' ? answered.reason : ended.reason;
    if (!(reason instanceof DatabaseFailure) || reason.failure !== 'outage') throw reason;
    throw new NexusError('storage_unavailable', `${reason.reason} while a change was written; it may have happened`, { cause: reason });
  }

  try {
    const deadline = deadlineIn(migrationTimeoutMs);
    const prepare = `${settings(serverLimits(migrationTimeoutMs))};select pg_advisory_xact_lock(${migrationLock})`;
    const schema = () => (options.asIs ? checkSchema() : migrateSchema(dialect.migrationTypes, clock.now()));
    await givingUp(connections, signal, () => withRetries(retrying(deadline, signal), () => transact(deadline, schema, prepare)));
  } catch (error) {
    await connections.close();
    signal?.throwIfAborted();
    throw explainPostgres(error, url);
  }

  return {
    dialect: 'postgres',
    read(start, { withinMs = timeoutMs } = {}) {
      const deadline = deadlineIn(withinMs);
      return withRetries(retrying(deadline), () => using(connections, deadline, (connection) => drive(connection, start())));
    },
    write(start, { withinMs = timeoutMs } = {}) {
      const deadline = deadlineIn(withinMs);
      return withRetries(retrying(deadline), () => transact(deadline, start));
    },
    pool: () => connections.state(),
    giveUp: () => connections.giveUp(),
    close: () => connections.close(),
  };
}

const begin = 'begin isolation level read committed';

/** Settings of the transaction that is open. */
function settings(given: Readonly<Record<string, number | string>>): string {
  return Object.entries(given)
    .map(([name, value]) => `set local ${name} = ${value}`)
    .join(';');
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
