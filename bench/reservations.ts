/**
 * Reservations per second through the store's group commit, beside the same work one commit at a time.
 *
 *   node --conditions=nexus-source bench/reservations.ts [--url postgres://… | --data-dir path] [--clients 64] [--seconds 5]
 *
 * Prints one line of JSON, then one for people. Each reservation is taken in three scopes (run, session, tenant); the
 * `pairs` figure also settles each one.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type RunId, type SessionId, TenantId } from '@nexus-agent/protocol';
import { ledgerRules, limitOperations, scopesOf } from '../packages/server/src/budget/index.ts';
import { createIdSource, systemClock } from '../packages/server/src/core/index.ts';
import { openStore } from '../packages/server/src/storage/drivers/index.ts';

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    'data-dir': { type: 'string' },
    clients: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '5' },
  },
});
const clients = Number(values.clients);
const seconds = Number(values.seconds);
const temporary = values.url === undefined && values['data-dir'] === undefined ? mkdtempSync(join(tmpdir(), 'nexus-bench-')) : undefined;
const dataDir = values['data-dir'] ?? temporary;
const ids = createIdSource(systemClock);
const store = await openStore({
  ...(values.url === undefined ? {} : { url: values.url }),
  ...(dataDir === undefined ? {} : { dataDir }),
  ledgerRules,
  clock: systemClock,
  ids,
});
const tenantId = TenantId.parse(`bench-${process.pid}`);

interface Figure {
  perSecond: number;
  cpuMicrosPerCommit: number;
  p50Ms: number;
  p99Ms: number;
}

/** `concurrency` clients, each with its own run and session, commit as fast as answers come. */
async function measure(concurrency: number, settles: boolean): Promise<Figure> {
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
          limitOperations(scope, { costMicroUsd: 1_000_000_000, tokens: 1_000_000_000 }, { unlimited: 'ignore' }),
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
              dispatched: true,
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
  const sorted = times.sort((a, b) => a - b);
  const at = (share: number) => Number((sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(2));
  return {
    perSecond: Math.round(times.length / elapsed),
    cpuMicrosPerCommit: Math.round((used.user + used.system) / (times.length * (settles ? 2 : 1))),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
}

try {
  const oneByOne = await measure(1, false);
  const grouped = await measure(clients, false);
  const pairs = await measure(clients, true);
  process.stdout.write(
    `${JSON.stringify({ bench: 'reservations', dialect: store.dialect, clients, seconds, grouped, pairs, oneByOne })}\n`,
  );
  process.stdout.write(
    `${store.dialect}: ${grouped.perSecond} reservations/s with ${clients} clients (p99 ${grouped.p99Ms} ms, ${grouped.cpuMicrosPerCommit} us CPU each), ` +
      `${pairs.perSecond} reserve+settle pairs/s, ${oneByOne.perSecond}/s one by one\n`,
  );
} finally {
  await store.close();
  if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
}
