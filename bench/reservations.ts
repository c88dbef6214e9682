/**
 * Reservations per second through the store's group commit, beside the same work one commit at a time, on the embedded
 * database and on Postgres (found as the tests find it). Each reservation is taken in three scopes (run, session,
 * tenant); the `pairs` figure also settles each one.
 *
 *   node --conditions=nexus-source bench/reservations.ts [--clients 64] [--seconds 3]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunId, type SessionId, TenantId } from '@nexus-agent/protocol';
import { limitOperations, scopesOf } from '../packages/server/src/budget/index.ts';
import { createIdSource, systemClock, systemTimers } from '../packages/server/src/core/index.ts';
import { ledgerRules } from '../packages/server/src/ledger/index.ts';
import { openStore } from '../packages/server/src/storage/drivers/index.ts';
import type { Store } from '../packages/server/src/storage/index.ts';
import { acquirePostgres } from '../test/support/postgres.ts';
import { readArguments } from './support/arguments.ts';
import { type Figure, percentile, report } from './support/report.ts';

const { values } = readArguments({ options: { clients: { type: 'string', default: '64' }, seconds: { type: 'string', default: '3' } } });
const clients = Number(values.clients);
const seconds = Number(values.seconds);
const tenantId = TenantId.parse(`bench-${process.pid}`);
const ids = createIdSource(systemClock);
const limits = { costMicroUsd: 1_000_000_000, tokens: 1_000_000_000 };

interface Measured {
  perSecond: number;
  cpuMicros: number;
  p99Ms: number;
}

/** `concurrency` clients, each with its own run and session, commit as fast as answers come. */
async function measure(store: Store, concurrency: number, settles: boolean): Promise<Measured> {
  const times: number[] = [];
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      const runId = ids.next<RunId>('run');
      const session = ids.next<SessionId>('session');
      const scopes = scopesOf({ tenantId, session, run: runId });
      await store.commit({
        tenantId,
        ledger: scopes.flatMap((scope) =>
          // As a start of a run has it: nothing can have been spent in what comes to be.
          scope.kind === 'tenant' ? [] : limitOperations(scope, limits, { unlimited: 'ignore', fresh: true }),
        ),
      });
      while (performance.now() - startedAt < seconds * 1000) {
        const reservationId = ids.next<string>('reservation');
        const before = performance.now();
        const result = await store.commit({
          tenantId,
          ledger: [
            {
              type: 'reserve',
              reservationId,
              runId,
              scopes,
              fixed: { costMicroUsd: 10, tokens: 5 },
              expiresAt: systemClock.now() + 60_000,
            },
          ],
        });
        if (result.type !== 'committed') throw new Error(`a reservation was answered with ${result.type}`);
        times.push(performance.now() - before);
        if (settles) await store.commit({ tenantId, ledger: [{ type: 'settle', reservationId, actual: { costMicroUsd: 4, tokens: 2 } }] });
      }
    }),
  );
  const elapsed = (performance.now() - startedAt) / 1000;
  const used = process.cpuUsage(cpu);
  return {
    perSecond: times.length / elapsed,
    cpuMicros: (used.user + used.system) / (times.length * (settles ? 2 : 1)),
    p99Ms: percentile(times, 0.99),
  };
}

/** Everybody takes from one limit until it refuses: how many reservations more than it affords were granted. */
async function overspend(store: Store): Promise<number> {
  const affords = 1000;
  const session = ids.next<SessionId>('session');
  const scopes = scopesOf({ tenantId, session });
  await store.commit({ tenantId, ledger: limitOperations({ kind: 'session', id: session }, { tokens: affords }, { unlimited: 'ignore' }) });
  let granted = 0;
  const lane = async () => {
    for (;;) {
      const reservationId = ids.next<string>('reservation');
      const expiresAt = systemClock.now() + 60_000;
      const result = await store.commit({
        tenantId,
        ledger: [{ type: 'reserve', reservationId, runId: null, scopes, fixed: { tokens: 1 }, expiresAt }],
      });
      if (result.type !== 'committed') return;
      granted += 1;
    }
  };
  await Promise.all(Array.from({ length: clients }, lane));
  return granted - affords;
}

async function measureAll(name: string, options: { url: string } | { dataDir: string }, bar?: Figure['bar']): Promise<Figure[]> {
  const store = await openStore({ ...options, ledgerRules, clock: systemClock, timers: systemTimers, ids });
  try {
    await store.commit({ tenantId, ledger: limitOperations({ kind: 'tenant', id: tenantId }, limits, { unlimited: 'ignore' }) });
    const oneByOne = await measure(store, 1, false);
    const grouped = await measure(store, clients, false);
    const pairs = await measure(store, clients, true);
    return [
      { name: `${name}: reservations/s, ${clients} clients`, value: grouped.perSecond, unit: '/s', ...(bar === undefined ? {} : { bar }) },
      { name: `${name}: CPU of this process per reservation`, value: grouped.cpuMicros, unit: 'µs' },
      { name: `${name}: p99`, value: grouped.p99Ms, unit: 'ms' },
      { name: `${name}: reserve and settle, pairs/s`, value: pairs.perSecond, unit: '/s' },
      {
        name: `${name}: granted beyond a limit that all clients race for`,
        value: await overspend(store),
        unit: '',
        bar: { op: '<=', value: 0 },
      },
      { name: `${name}: control, one client, one commit at a time`, value: oneByOne.perSecond, unit: '/s' },
    ];
  } finally {
    await store.close();
  }
}

const figures: Figure[] = [];
const notes: string[] = [];
const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
try {
  figures.push(...(await measureAll('sqlite', { dataDir })));
  const postgres = await acquirePostgres();
  if ('reason' in postgres) {
    notes.push(`Postgres was not measured: ${postgres.reason}`);
  } else {
    try {
      figures.push(...(await measureAll('postgres', { url: postgres.url }, { op: '>=', value: 7000 })));
    } finally {
      await postgres.close();
    }
  }
} finally {
  rmSync(dataDir, { recursive: true, force: true });
}
report('reservations', figures, notes);
