/** The door of the drivers: only `apps` and tests open databases. */
import { type Clock, type IdSource, NexusError, type Timers } from '#core';
import type { LedgerRules } from '#ledger';
import type { Store } from '#storage/contract';
import type { Driver } from '#storage/program';
import { createStore, type StoreDependencies } from '../store.ts';
import { openPostgres } from './postgres.ts';
import { openSqlite } from './sqlite.ts';

export type { Driver, DriverLimits, Program, Result } from '#storage/program';
export { createStore };

export interface OpenStoreOptions extends Pick<StoreDependencies, 'transaction' | 'quotas' | 'onBroken'> {
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
  /** Whatever is asked of the store is answered, or has failed, after about so long. Default 8000. */
  readonly timeoutMs?: number;
  /** Postgres only: the same for bringing the schema up to date. Default: as `timeoutMs`. */
  readonly migrationTimeoutMs?: number;
  /** The schema is left as it is: one of an earlier version, or none, is refused with `config_invalid`. */
  readonly asIs?: boolean;
  /** Hears, while the database is being opened, of what works less well than it could. */
  readonly onNotice?: (message: string) => void;
  /** Fired while the database is being opened: nothing is waited for any more, and {@link openStore} rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens the database and brings its schema up to date. Throws `schema_too_new`, `storage_unavailable`,
 * or `config_invalid` where only other settings, rights or files help; the message says which. Leaves nothing open then.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { clock, timers, ids, ledgerRules, transaction, quotas, onBroken, timeoutMs = 8_000 } = options;
  const driver = await openDriver({ ...options, timeoutMs });
  const given = {
    ...(transaction === undefined ? {} : { transaction }),
    ...(quotas === undefined ? {} : { quotas }),
    ...(onBroken === undefined ? {} : { onBroken }),
  };
  return createStore({ driver, ledgerRules, clock, timers, ids, timeoutMs, ...given });
}

/** The driver alone, as {@link openStore} opens it: for tests and simulations, which put something between it and the store. */
export async function openDriver(
  options: Omit<OpenStoreOptions, 'ledgerRules' | 'timers' | 'ids' | 'transaction' | 'quotas'> & {
    readonly timeoutMs: number;
    readonly timers?: Timers;
  },
): Promise<Driver> {
  const { url, dataDir, clock, synchronous = 'NORMAL', maxConnections = 10, timeoutMs, asIs = false, signal } = options;
  const turns = options.timers === undefined ? {} : { timers: options.timers };
  if (url === 'sqlite::memory:') return openSqlite({ synchronous, timeoutMs, clock, asIs, signal, ...turns });
  if (url === undefined && dataDir !== undefined) return openSqlite({ synchronous, timeoutMs, clock, asIs, signal, dataDir, ...turns });
  if (url === undefined) throw new NexusError('config_invalid', 'either a database URL or a data directory is needed');
  if (!/^postgres(ql)?:\/\//.test(url)) throw new NexusError('config_invalid', 'the database URL must start with postgres://');
  const { migrationTimeoutMs = timeoutMs, onNotice = () => undefined } = options;
  return openPostgres({ url, maxConnections, timeoutMs, migrationTimeoutMs, clock, asIs, onNotice, signal });
}
