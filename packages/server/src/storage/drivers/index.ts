/** The door of the drivers: only `apps` and tests open databases. */
import { type Clock, type IdSource, NexusError, type Timers } from '#core';
import type { LedgerRules } from '#ledger';
import type { Store } from '#storage/contract';
import type { Driver } from '#storage/program';
import { createStore, type StoreDependencies } from '../store.ts';
import { openPostgres } from './postgres.ts';
import { openSqlite } from './sqlite.ts';

export interface OpenStoreOptions extends Pick<StoreDependencies, 'transaction'> {
  /** `postgres://…`, or `sqlite::memory:`. Absent: SQLite in `dataDir`. */
  readonly url?: string;
  readonly dataDir?: string;
  readonly ledgerRules: LedgerRules;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly ids: IdSource;
  /** SQLite only, see the driver. Default `NORMAL`. */
  readonly synchronous?: 'NORMAL' | 'FULL';
  /** Postgres only: connections of this process. Default 10. */
  readonly maxConnections?: number;
}

/**
 * Opens the database and brings its schema up to date. Throws `schema_too_new`, `storage_unavailable`,
 * `config_invalid`, or `internal` for a file that is no database; leaves nothing open then.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { clock, timers, ids, ledgerRules, transaction } = options;
  const driver = await openDriver(options);
  return createStore({ driver, ledgerRules, clock, timers, ids, ...(transaction === undefined ? {} : { transaction }) });
}

async function openDriver({ url, dataDir, clock, synchronous = 'NORMAL', maxConnections = 10 }: OpenStoreOptions): Promise<Driver> {
  if (url === 'sqlite::memory:') return openSqlite({ synchronous, clock });
  if (url === undefined && dataDir !== undefined) return openSqlite({ synchronous, clock, dataDir });
  if (url === undefined) throw new NexusError('config_invalid', 'either a database URL or a data directory is needed');
  if (!/^postgres(ql)?:\/\//.test(url)) throw new NexusError('config_invalid', 'the database URL must start with postgres://');
  return openPostgres({ url, maxConnections, clock });
}
