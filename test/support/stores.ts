import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunId, type SessionId, TenantId } from '@nexus-agent/protocol';
import { type Clock, createIdSource, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { type Quotas, unlimited } from '../../packages/server/src/storage/contract/index.ts';
import { type OpenStoreOptions, openStore } from '../../packages/server/src/storage/drivers/index.ts';
import type { RunRow, SessionRow, Store } from '../../packages/server/src/storage/index.ts';
import { acquirePostgres } from './postgres.ts';

/** Where a database is: enough for another process to open it too. */
export type DatabaseLocation = Pick<OpenStoreOptions, 'url' | 'dataDir'>;

/** A fresh database of one driver, for stores to be opened on. */
export interface StoreSubject {
  readonly name: 'sqlite' | 'postgres';
  readonly location: DatabaseLocation;
  open(clock?: Clock, quotas?: Quotas): Promise<Store>;
  close(): Promise<void>;
}

/** A SQLite file in a temporary directory. */
export function sqliteSubject(): StoreSubject {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-store-'));
  return {
    name: 'sqlite',
    location: { dataDir },
    open: (clock, quotas) => openTestStore({ dataDir }, clock, quotas),
    close: async () => rmSync(dataDir, { recursive: true, force: true }),
  };
}

/** A database of its own on the Postgres that tests find, or why there is none. */
export async function postgresSubject(): Promise<StoreSubject | { reason: string }> {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return postgres;
  const { url } = postgres;
  return {
    name: 'postgres',
    location: { url },
    open: (clock, quotas) => openTestStore({ url }, clock, quotas),
    close: () => postgres.close(),
  };
}

export function openTestStore(
  location: DatabaseLocation & Pick<OpenStoreOptions, 'signal' | 'timeoutMs'>,
  clock: Clock = systemClock,
  quotas: Quotas = unlimited,
  maxConnections = 5,
): Promise<Store> {
  return openStore({ ...location, quotas, ledgerRules, clock, timers: systemTimers, ids: createIdSource(clock), maxConnections });
}

export const ids = createIdSource(systemClock);

let tenants = 0;
/** A tenant of its own lets tests share a database. */
export function newTenant(): TenantId {
  tenants += 1;
  return TenantId.parse(`t${process.pid}-${tenants}-${Math.random().toString(36).slice(2, 8)}`);
}

export function sessionRow(tenantId: TenantId, fields: Partial<SessionRow> = {}): SessionRow {
  return {
    tenantId,
    sessionId: ids.next<SessionId>('session'),
    status: 'active',
    agent: 'helper',
    agentVersion: 'agv_1',
    policy: null,
    user: null,
    project: null,
    metadata: null,
    createdAt: Date.now(),
    ...fields,
  };
}

export function runRow(tenantId: TenantId, fields: Partial<RunRow> = {}): RunRow {
  return {
    tenantId,
    runId: ids.next<RunId>('run'),
    sessionId: ids.next<SessionId>('session'),
    agent: 'helper',
    agentVersion: 'agv_1',
    model: null,
    parentRunId: null,
    status: 'queued',
    waiting: null,
    step: 0,
    lastSeq: 0,
    totals: { inputTokens: 0, outputTokens: 0, costMicroUsd: 0, modelCalls: 0, toolCalls: 0 },
    output: null,
    error: null,
    resumable: false,
    epoch: 0,
    leaseOwner: null,
    dueAt: null,
    cancelRequested: null,
    budget: null,
    traceId: null,
    user: null,
    project: null,
    createdAt: Date.now(),
    updatedAt: Date.now(),
    ...fields,
  };
}

/** Notes contents, as whoever puts them does before a commit names them. */
export async function noteContents(store: Store, tenantId: TenantId, contents: Iterable<{ readonly sha256: string }>): Promise<void> {
  for (const { sha256 } of contents) await store.touchContent({ tenantId, sha256 }, 86_400_000, 300_000);
}
