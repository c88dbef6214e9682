/** The door of the drivers: only `apps` and tests open databases and buses. */
import { type Clock, type IdSource, NexusError } from '#core';
import type { LedgerRules } from '../ledger-types.ts';
import { createStore } from '../store.ts';
import type { Store } from '../types.ts';
import { openSqlite } from './sqlite.ts';

export interface OpenStoreOptions {
  /** `postgres://…`, or `sqlite::memory:`. Absent: SQLite in `dataDir`. */
  readonly url?: string;
  readonly dataDir?: string;
  readonly ledgerRules: LedgerRules;
  readonly clock: Clock;
  readonly ids: IdSource;
  /** SQLite only, see the driver. Default `NORMAL`. */
  readonly synchronous?: 'NORMAL' | 'FULL';
}

/** Opens the database and brings its schema up to date. Throws `schema_too_new`, `storage_unavailable` or `config_invalid`. */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { url, dataDir, clock, ids, ledgerRules, synchronous = 'NORMAL' } = options;
  if (url !== undefined && url !== 'sqlite::memory:')
    throw new NexusError('config_invalid', 'the database URL must start with postgres://');
  if (url === undefined && dataDir === undefined)
    throw new NexusError('config_invalid', 'either a database URL or a data directory is needed');
  const driver = await openSqlite({ synchronous, clock, ...(url === undefined && dataDir !== undefined ? { dataDir } : {}) });
  return createStore({ driver, ledgerRules, clock, ids });
}
