import type { RunId } from '@nexus-agent/protocol';
import { afterAll, describe, expect, it } from 'vitest';
import { limitOperations } from '../../packages/server/src/budget/index.ts';
import { createIdSource, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { openStore } from '../../packages/server/src/storage/drivers/index.ts';
import { openPostgres } from '../../packages/server/src/storage/drivers/testing/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import type { Program, Result } from '../../packages/server/src/storage/program/index.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import { startPgbouncer } from '../support/pgbouncer.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { execute } from '../support/sql.ts';
import { newTenant, runRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const postgres = await acquirePostgres();
afterAll(async () => {
  if ('close' in postgres) await postgres.close();
});

const settings: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['refuses settings at the start of a session', {}],
  [
    'takes and forgets settings',
    { ignore_startup_parameters: 'options,statement_timeout,lock_timeout,idle_in_transaction_session_timeout' },
  ],
  ['has fewer sessions than there are connections to it', { default_pool_size: '2' }],
];

describe.each(settings)('behind a pooler in transaction mode that %s', (_, given) => {
  it('a store works, and says at the start that the pooler is in the way', async (context) => {
    if ('reason' in postgres) return context.skip(postgres.reason);
    const pooler = await startPgbouncer(postgres.url, given);
    if ('reason' in pooler) return context.skip(pooler.reason);
    const notices: string[] = [];
    const open = () =>
      openStore({
        url: pooler.url,
        ledgerRules,
        clock: systemClock,
        timers: systemTimers,
        ids: createIdSource(systemClock),
        timeoutMs: 3_000,
        maxConnections: 5,
        onNotice: (message) => notices.push(message),
      });
    const stores: Store[] = [];
    try {
      stores.push(await open(), await open());
      expect(notices).toEqual([
        expect.stringContaining('pooler in transaction mode'),
        expect.stringContaining('pooler in transaction mode'),
      ]);
      await workTogether(stores);
    } finally {
      await Promise.all(stores.map((store) => store.close()));
      await pooler.close();
    }
  });
});

describe('no statement is compiled, whatever Postgres expects it to cost', () => {
  const explain = 'explain (analyze) select count(*) from runs where tenant_id > $1';
  /** How Postgres carries a statement out that a store's driver sends, where everything is worth compiling to it. */
  async function planOn(url: string, sent: 'read' | 'write'): Promise<string> {
    const driver = await openPostgres({
      url,
      clock: systemClock,
      timeoutMs: 3_000,
      migrationTimeoutMs: 8_000,
      maxConnections: 1,
      onNotice: () => undefined,
      asIs: false,
    });
    try {
      const plan = await driver[sent](function* (): Program<Result> {
        return yield { type: 'raw', sql: explain, params: ['a'] };
      });
      return JSON.stringify(plan.rows);
    } finally {
      await driver.close();
    }
  }
  /** Why it cannot be tried here, or undefined once the database finds everything worth compiling. */
  const eager = async (): Promise<string | undefined> => {
    if ('reason' in postgres) return postgres.reason;
    const { url } = postgres;
    const [row] = (await execute({ url }, 'select pg_jit_available() as available')) as { available: boolean }[]; // as just asked for
    if (row?.available !== true) return 'this Postgres cannot compile';
    await execute({ url }, `alter database ${new URL(url).pathname.slice(1)} set jit_above_cost = 0`);
    return undefined;
  };

  it(`over a direct connection ${verifies('storage.plans')}`, async (context) => {
    const why = await eager();
    if (why !== undefined || 'reason' in postgres) return context.skip(why);
    expect(await planOn(postgres.url, 'read')).not.toContain('JIT');
    expect(await planOn(postgres.url, 'write')).not.toContain('JIT');
  });

  it('unless the address of the database asks for it', async (context) => {
    const why = await eager();
    if (why !== undefined || 'reason' in postgres) return context.skip(why);
    expect(await planOn(`${postgres.url}?options=-c%20jit%3Don`, 'read')).toContain('JIT');
  });

  it('in a transaction through a pooler', async (context) => {
    const why = await eager();
    if (why !== undefined || 'reason' in postgres) return context.skip(why);
    const pooler = await startPgbouncer(postgres.url, {});
    if ('reason' in pooler) return context.skip(pooler.reason);
    try {
      expect(await planOn(pooler.url, 'read')).toContain('JIT'); // a setting goes with a transaction alone: see the guide
      expect(await planOn(pooler.url, 'write')).not.toContain('JIT');
    } finally {
      await pooler.close();
    }
  });
});

it('a direct connection is used as one: nothing is said', async (context) => {
  if ('reason' in postgres) return context.skip(postgres.reason);
  const notices: string[] = [];
  const store = await openStore({
    url: postgres.url,
    ledgerRules,
    clock: systemClock,
    timers: systemTimers,
    ids: createIdSource(systemClock),
    onNotice: (message) => notices.push(message),
  });
  await store.close();
  expect(notices).toEqual([]);
});

/** Every kind of request, many at a time, so that sessions change hands. */
async function workTogether(stores: readonly Store[]): Promise<void> {
  const tenantId = newTenant();
  const scope = { kind: 'tenant', id: tenantId } as const;
  const [first] = stores;
  if (first === undefined) throw new Error('there is no store');
  await first.commit({ tenantId, ledger: limitOperations(scope, { tokens: 100_000 }) });
  const runIds = await Promise.all(
    Array.from({ length: 30 }, async (_, index): Promise<RunId> => {
      const store = stores[index % stores.length] ?? first;
      const row = runRow(tenantId, { status: 'queued', dueAt: 1 });
      await store.commit({
        tenantId,
        createRun: row,
        ledger: [{ type: 'reserve', reservationId: `r${index}`, runId: row.runId, scopes: [scope], fixed: { tokens: 3 }, expiresAt: 0 }],
      });
      expect(await store.getRun(tenantId, row.runId)).toMatchObject({ status: 'queued' });
      return row.runId;
    }),
  );
  const claimed = await Promise.all(
    stores.map(async (store, index) => {
      await store.heartbeat(`worker_${tenantId}_${index}`, 60_000);
      return store.claimRuns(`worker_${tenantId}_${index}`, 100);
    }),
  );
  expect(
    claimed
      .flatMap((rows) => rows.map(({ runId }) => runId))
      .filter((id) => runIds.includes(id))
      .sort(),
  ).toEqual([...runIds].sort());
  const settled = runIds.map((_, index) =>
    (stores[index % stores.length] ?? first).commit({
      tenantId,
      ledger: [{ type: 'settle', reservationId: `r${index}`, actual: { tokens: 2 } }],
    }),
  );
  for (const result of await Promise.all(settled)) expect(result.type).toBe('committed');
  expect(await auditLedger(first, tenantId)).toEqual([]);
}
