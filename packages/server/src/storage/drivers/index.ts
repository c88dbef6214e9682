/** The door of the drivers: only `apps` and tests open databases and buses. */
import { type Clock, type IdSource, NexusError } from '#core';
import type { Driver } from '../driver.ts';
import type { LedgerRules } from '../ledger-types.ts';
import { createStore } from '../store.ts';
import type { Bus, Store } from '../types.ts';
import { createMemoryBus } from './bus-memory.ts';
import { createPostgresBus } from './bus-postgres.ts';
import { createRedisBus } from './bus-redis.ts';
import { openPostgres } from './postgres.ts';
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
  /** Postgres only: connections of this process. Default 10. */
  readonly maxConnections?: number;
}

/**
 * Opens the database and brings its schema up to date. Throws `schema_too_new`, `storage_unavailable` or
 * `config_invalid`; leaves nothing open then.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { clock, ids, ledgerRules } = options;
  return createStore({ driver: await openDriver(options), ledgerRules, clock, ids });
}

/** Brings the schema up to date and closes again. Returns what was applied, empty when it was current. Throws as {@link openStore}. */
export async function migrateDatabase(options: Omit<OpenStoreOptions, 'ledgerRules' | 'ids'>): Promise<readonly string[]> {
  const driver = await openDriver(options);
  await driver.close();
  return driver.migrated;
}

async function openDriver({
  url,
  dataDir,
  clock,
  synchronous = 'NORMAL',
  maxConnections = 10,
}: Omit<OpenStoreOptions, 'ledgerRules' | 'ids'>): Promise<Driver> {
  if (url === 'sqlite::memory:') return openSqlite({ synchronous, clock });
  if (url === undefined && dataDir !== undefined) return openSqlite({ synchronous, clock, dataDir });
  if (url === undefined) throw new NexusError('config_invalid', 'either a database URL or a data directory is needed');
  if (!/^postgres(ql)?:\/\//.test(url)) throw new NexusError('config_invalid', 'the database URL must start with postgres://');
  return openPostgres({ url, maxConnections, clock });
}

export type OpenBusOptions = { readonly onError: (error: unknown) => void } & (
  | { readonly kind: 'memory' }
  | { readonly kind: 'postgres' | 'redis'; readonly url: string }
);

/** Opens the bus. Throws `storage_unavailable` when its server cannot be reached now; later losses go to `onError`. */
export async function openBus(options: OpenBusOptions): Promise<Bus> {
  if (options.kind === 'memory') return createMemoryBus(options);
  try {
    return await (options.kind === 'postgres' ? createPostgresBus(options) : createRedisBus(options));
  } catch (cause) {
    throw new NexusError('storage_unavailable', `the ${options.kind} bus cannot be reached`, { cause });
  }
}
