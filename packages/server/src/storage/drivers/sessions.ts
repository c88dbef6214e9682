/** How Postgres is reached: what its sessions are asked to be, and whether they are one's own. */
import type { ClientConfig } from 'pg';
import { NexusError } from '#core';
import { type Connections, createConnections, type TakenConnection } from './connections.ts';
import { type Deadline, deadlineIn } from './deadline.ts';
import { DatabaseFailure } from './failures.ts';
import { explainPostgres, isPoolerRefusal } from './openings.ts';
import { type RetryOptions, withRetries } from './retry.ts';

interface ConnectOptions {
  readonly url: string;
  readonly maxConnections: number;
  readonly timeoutMs: number;
  /** Ends it, with everything that is open. */
  readonly signal?: AbortSignal | undefined;
}

const idleMs = 30_000;
/** A process that is stopped in mid-transaction must not hold its locks against those that take over. */
const idleInTransactionMs = 3_000;
/** A plan that is kept from when the tables were empty reads a whole tenant for each key until the next ANALYZE. */
const planCacheMode = 'force_custom_plan';
/**
 * Whatever Postgres expects a statement to cost, it is not compiled: ours read a few rows by an index. Among a million runs the question
 * of a poll is expected to cost so much that it was compiled for 14 ms, each time, to be carried out in 0.1 ms.
 */
export const uncompiled = { jit: 'off' } as const;

/** Numbers of 64 bits arrive as numbers: no amount or time exceeds 2^53. */
const types = {
  getTypeParser: (oid: number, format?: string) =>
    format !== 'binary' && numeric.has(oid) ? (value: string) => Number(value) : (value: string) => value,
};
const numeric: ReadonlySet<number> = new Set([20, 21, 23, 1700]); // int8, int2, int4, numeric

/**
 * What the server itself is to give up, before this side hangs up: it then says why, and the connection stays. A lock is waited
 * for several times, as the one that holds it may have gone.
 */
export function serverLimits(timeoutMs: number) {
  return {
    statement_timeout: Math.max(1, Math.round(timeoutMs * 0.8)),
    lock_timeout: Math.max(1, Math.round(timeoutMs * 0.3)),
    idle_in_transaction_session_timeout: idleInTransactionMs,
  };
}

/** A session that keeps its settings and prepared statements, or one that a pooler may change after each transaction. */
export type SessionMode = 'session' | 'pooled';

type CreateClient = Parameters<typeof createConnections>[0]['createClient'];

function connectionsFor(createClient: CreateClient, { url, maxConnections, timeoutMs }: ConnectOptions, wanted: SessionMode): Connections {
  const common: ClientConfig = {
    connectionString: wanted === 'session' ? withSettings(url) : url,
    keepAlive: true,
    // So early that a firewall does not forget an idle connection.
    keepAliveInitialDelayMillis: 10_000,
    application_name: 'nexus-agent',
    types,
    pipeline: true,
  };
  const config = wanted === 'session' ? { ...common, ...serverLimits(timeoutMs) } : common;
  return createConnections({ createClient, config, max: maxConnections, idleMs });
}

/** A pooler in transaction mode refuses settings at the start of a session, or takes and forgets them: either tells it apart. */
export async function connectPostgres(options: ConnectOptions): Promise<{ readonly connections: Connections; readonly mode: SessionMode }> {
  // Loaded here: a server on the embedded database never pays for it.
  const { default: pg } = await import('pg');
  const { url, timeoutMs, signal } = options;
  for (const wanted of ['session', 'pooled'] as const) {
    const opened = connectionsFor((config) => new pg.Client(config), options, wanted);
    const deadline = deadlineIn(timeoutMs);
    try {
      const isKept = await givingUp(opened, signal, () =>
        withRetries(retrying(deadline, signal), () =>
          using(opened, deadline, async (connection) => {
            const { rows } = await connection.query("select current_setting('plan_cache_mode') as mode");
            return rows[0]?.mode === planCacheMode;
          }),
        ),
      );
      if (isKept || wanted === 'pooled') return { connections: opened, mode: wanted };
      await opened.close();
    } catch (error) {
      await opened.close();
      signal?.throwIfAborted();
      if (wanted === 'pooled' || !isPoolerRefusal(error)) throw explainPostgres(error, url);
    }
  }
  throw new NexusError('internal', 'the database was opened in no way');
}

/** How work on Postgres is repeated. */
export function retrying(deadline: Deadline, signal?: AbortSignal): RetryOptions {
  return { failureOf: (error: unknown) => (error instanceof DatabaseFailure ? error : null), conflicts: 5, outages: 2, deadline, signal };
}

/** While the work goes on, the signal cuts all connections: what was asked fails, and the server undoes what was not committed. */
export async function givingUp<R>(connections: Connections, signal: AbortSignal | undefined, work: () => Promise<R>): Promise<R> {
  signal?.throwIfAborted();
  const giveUp = () => connections.giveUp();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    return await work();
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

/** The options that somebody gave the address stand, and ours beside them. The last one of a name counts. */
function withSettings(url: string): string {
  const changed = new URL(url);
  const given = changed.searchParams.get('options');
  const options = [`-c jit=${uncompiled.jit}`, ...(given === null ? [] : [given]), `-c plan_cache_mode=${planCacheMode}`];
  changed.searchParams.set('options', options.join(' '));
  return changed.href;
}

/** Outside a transaction. */
export async function using<R>(
  connections: Connections,
  deadline: Deadline,
  work: (connection: TakenConnection) => Promise<R>,
): Promise<R> {
  const connection = await connections.take(deadline);
  let clean = true;
  try {
    return await work(connection);
  } catch (error) {
    clean = !(error instanceof DatabaseFailure && error.doubtful);
    throw error;
  } finally {
    connection.giveBack(clean);
  }
}
