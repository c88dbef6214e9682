import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunId, TenantId } from '@nexus-agent/protocol';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createIdSource, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { createStore, openDriver } from '../../packages/server/src/storage/drivers/index.ts';
import type { Driver } from '../../packages/server/src/storage/program/index.ts';
import { execute } from '../support/sql.ts';
import { newTenant, openTestStore, runRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const tenant = TenantId.parse('default');
const entries = 400_000;

/** A database in which every entry of the ledger was for another user: as many sums as entries, and a run with a journal of many events. */
async function growLedger(dataDir: string, run: RunId): Promise<void> {
  await (await openTestStore({ dataDir })).close();
  const series = (count: number) => `with recursive n(i) as (select 0 union all select i + 1 from n where i < ${count - 1})`;
  await execute(
    { dataDir },
    `${series(entries)} insert into usage_days (tenant_id, dimension, day, name, settlements, cost_micro_usd, tokens, tool_calls, wall_ms)
      select '${tenant}', 'user', '2026-11-' || (10 + i % 15), 'user-' || i, 1, 7, 3, 0, 0 from n`,
  );
  await execute(
    { dataDir },
    `insert into usage_days (tenant_id, dimension, day, name, settlements, cost_micro_usd, tokens, tool_calls, wall_ms)
      select tenant_id, 'tenant', day, '', count(*), sum(cost_micro_usd), sum(tokens), 0, 0 from usage_days group by tenant_id, day`,
  );
  await execute(
    { dataDir },
    `${series(50_000)} insert into run_events (tenant_id, run_id, seq, type, at, data)
      select '${tenant}', '${run}', i + 1, 'tool.output', 1, '{}' from n`,
  );
}

describe('a large embedded database', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-large-'));
  const { runId } = runRow(tenant);
  beforeAll(() => growLedger(dataDir, runId), 60_000);
  afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

  const year = { from: '2026-01-01', to: '2026-12-31' };

  it(`is read in pieces of a bounded number of rows, each in a turn of its own ${verifies('storage.pieces')}`, async () => {
    let turns = 0;
    const soon = () => {
      turns += 1;
      return systemTimers.soon();
    };
    const real = await openDriver({
      dataDir,
      clock: systemClock,
      timers: { ...systemTimers, soon },
      synchronous: 'NORMAL',
      timeoutMs: 8_000,
    });
    let [most, statements] = [0, 0];
    const count: Driver = {
      ...real,
      read: (start, limits) =>
        real.read(function* () {
          const program = start();
          let step = program.next();
          while (!step.done) {
            const answer = yield step.value;
            statements += 1;
            most = Math.max(most, answer.rows.length);
            step = program.next(answer);
          }
          return step.value;
        }, limits),
    };
    const ids = createIdSource(systemClock);
    const store = createStore({ driver: count, ledgerRules, clock: systemClock, timers: systemTimers, ids, timeoutMs: 8_000 });
    onTestFinished(() => store.close());
    const { items } = await store.usage(tenant, { by: 'user', ...year }, { limit: 5 });
    expect(items).toHaveLength(5);
    expect(most).toBeLessThanOrEqual(1_000);
    expect(statements).toBeGreaterThanOrEqual(entries / 1_000);
    expect(turns).toBeGreaterThanOrEqual(entries / 1_000);
    // Whoever reads a journal page by page comes to the end of its turn, too.
    turns = 0;
    for (let after = 0; after < 50_000; after += 500) await store.readEvents(tenant, runId, { after, limit: 500 });
    expect(turns).toBeGreaterThanOrEqual(45);
  });

  it(`is summed up for several at once while the lease stands, and nobody takes the runs of the process ${verifies('storage.pieces')}`, async () => {
    const [store, other] = [await openTestStore({ dataDir }), await openTestStore({ dataDir })];
    const tenantId = newTenant();
    const run = runRow(tenantId, { status: 'running', leaseOwner: 'here' });
    await store.commit({ tenantId, createRun: run });
    const leaseMs = 3_000;
    await store.heartbeat('here', leaseMs);
    let isDone = false;
    const beats = (async () => {
      while (!isDone) {
        await systemTimers.sleep(500);
        await store.heartbeat('here', leaseMs);
      }
    })();
    const taken: string[] = [];
    const thief = (async () => {
      while (!isDone) {
        await systemTimers.sleep(50);
        taken.push(...(await other.claimRuns('there', 5)).map((claimed) => claimed.runId));
      }
    })();
    const range = { from: '2026-11-10', to: '2026-11-14' };
    const asked = Array.from({ length: 4 }, () => store.usage(tenant, { by: 'user', ...range }, { limit: 5 }));
    const answers = await Promise.all(asked);
    isDone = true;
    await Promise.all([beats, thief]);
    expect(new Set(answers.map(({ nextCursor }) => nextCursor)).size).toBe(1);
    expect(taken).toEqual([]);
    await Promise.all([store.close(), other.close()]);
  }, 120_000);
});
