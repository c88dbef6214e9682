import pg from 'pg';
import type { Clock } from '../../packages/server/src/core/index.ts';
import { createIdSource, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { createStore, openDriver, openStore, type Program, type Result } from '../../packages/server/src/storage/drivers/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { tables } from '../../packages/server/src/storage/tables/index.ts';
import { acquirePostgres } from '../support/postgres.ts';

/** A database whose clock is the one that it is given, and which is emptied between one sequence and the next. */
export interface ModelSubject {
  readonly name: string;
  /** A process on it; `clock` is that process's own. */
  open(clock: Clock): Promise<Store>;
  /** To be told whenever the clock of the database was moved. */
  clockMoved(): Promise<void>;
  clear(): Promise<void>;
  close(): Promise<void>;
}

const timeoutMs = 20_000;

export async function sqliteModelSubject(clock: Clock): Promise<ModelSubject> {
  const driver = await openDriver({ url: 'sqlite::memory:', timeoutMs, clock });
  return {
    name: 'sqlite',
    open: async (own) => createStore({ driver, ledgerRules, clock: own, timers: systemTimers, ids: createIdSource(own), timeoutMs }),
    clockMoved: async () => undefined,
    clear: () =>
      driver.write(function* (): Program<void> {
        for (const { name } of tables) yield* raw(`delete from ${name}`);
      }),
    close: () => driver.close(),
  };
}

function* raw(sql: string): Program<Result> {
  return yield { type: 'raw', sql, params: [] };
}

/** Its own function of the time stands before that of Postgres. */
export async function postgresModelSubject(clock: Clock): Promise<ModelSubject | { readonly reason: string }> {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return postgres;
  const { url } = postgres;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('create table model_clock (ms bigint not null)');
  await client.query('insert into model_clock values (0)');
  await client.query(
    `create function public.clock_timestamp() returns timestamptz language sql volatile
      as 'select to_timestamp(ms / 1000.0) from public.model_clock'`,
  );
  await client.query(`alter database ${new URL(url).pathname.slice(1)} set search_path = public, pg_catalog`);
  await client.query(`alter database ${new URL(url).pathname.slice(1)} set synchronous_commit = off`);
  const stores = new Map<Clock, Store>();
  return {
    name: 'postgres',
    async open(own) {
      const open = stores.get(own);
      if (open !== undefined) return open;
      const store = await openStore({
        url,
        ledgerRules,
        clock: own,
        timers: systemTimers,
        ids: createIdSource(own),
        maxConnections: 4,
        timeoutMs,
      });
      stores.set(own, store);
      return store;
    },
    async clockMoved() {
      await client.query('update model_clock set ms = $1', [clock.now()]);
    },
    async clear() {
      await client.query(`truncate ${tables.map(({ name }) => name).join(', ')}`);
    },
    async close() {
      await Promise.all([...stores.values()].map((store) => store.close()));
      await client.end();
      await postgres.close();
    },
  };
}
