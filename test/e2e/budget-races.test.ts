import { afterEach, beforeEach, expect, it } from 'vitest';
import { auditLedger } from '../support/ledger-invariants.ts';
import { pause, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

let server: TestServer;
beforeEach(async () => {
  server = await startTestServer({ tools: createProbe().tools });
  await server.agent('worker', { maxOutputTokens: 200, subagents: ['worker'] });
});
afterEach(() => server.close());

const limit = (unit: string, amount: number, window = 'total') =>
  server.call('PUT', '/v1/budgets', { scope: { kind: 'tenant', id: 'default' }, unit, window, limit: amount });

async function balance(unit: string) {
  const { body } = await server.call('GET', '/v1/budgets?scope=tenant:default');
  return body.data.find((row: { unit: string }) => row.unit === unit);
}

/** Runs of every kind at once, in several sessions, until nothing moves any more; what is refused is tried again, forked and resumed. */
async function storm(watch: () => Promise<void>): Promise<void> {
  const task = '[[sim tools=costly(label=\\"c\\"),probe(label=\\"p\\")]] [[sim say=\\"child\\" tokens=150]]';
  const input = `[[sim tools=costly(label="a"),costly(label="b"),agent_worker(task="${task}")]] [[sim say="over" tokens=150]]`;
  const sessions = await Promise.all(Array.from({ length: 4 }, () => server.session({ agent: 'worker' })));
  let busy = true;
  const watching = (async () => {
    while (busy) {
      await watch();
      await pause(5);
    }
  })();
  await Promise.all(
    Array.from({ length: 24 }, async (_, index) => {
      const sessionId = sessions[index % sessions.length];
      const answer = await server.call('POST', '/v1/runs', { sessionId, input });
      if (answer.status !== 202) return;
      const run = await server.until(answer.body.id, 'completed', 'failed');
      const more = await server.call('POST', `/v1/runs/${run.id}/${run.status === 'failed' ? 'resume' : 'fork'}`, {});
      if (more.status < 300) await server.until(more.body.id, 'completed', 'failed');
      const direct = await server.call('POST', '/v1/tools/costly/execute', { sessionId, input: { label: 'direct' } });
      expect([200, 402, 429]).toContain(direct.status); // spent, or held by others
    }),
  );
  busy = false;
  await watching;
}

it('no mix of runs, sub-agents, forks, resumes and direct calls gets past the limit of the tenant', async () => {
  const most = 60_000;
  await limit('costMicroUsd', most);
  let highest = 0;
  await storm(async () => {
    const { spent, reserved } = await balance('costMicroUsd');
    highest = Math.max(highest, spent + reserved);
    expect(spent + reserved).toBeLessThanOrEqual(most);
  });
  expect(highest).toBeGreaterThan(most * 0.5);
  expect(await auditLedger(server.app.store, tenant)).toEqual([]);
}, 60_000);

it('a limit lowered below what is reserved lets nothing new in, and what was promised may end', async () => {
  await limit('costMicroUsd', 1_000_000);
  let lowered = false;
  let bound = Number.POSITIVE_INFINITY;
  await storm(async () => {
    const { spent, reserved } = await balance('costMicroUsd');
    if (!lowered && reserved > 10_000) {
      lowered = true;
      await limit('costMicroUsd', 1);
      const now = await balance('costMicroUsd');
      bound = now.spent + now.reserved;
      return;
    }
    expect(spent + reserved).toBeLessThanOrEqual(bound);
  });
  expect(lowered).toBe(true);
  expect(await balance('costMicroUsd')).toMatchObject({ reserved: 0, limit: 1 });
  await limit('costMicroUsd', 1_000_000); // the books are about limits that were kept, which one set below what was spent is not
  expect(await auditLedger(server.app.store, tenant)).toEqual([]);
}, 60_000);

it('tool calls and tokens are limited as exactly', async () => {
  await limit('toolCalls', 20);
  await limit('tokens', 400_000, 'day');
  await storm(async () => {
    for (const unit of ['toolCalls', 'tokens']) {
      const row = await balance(unit);
      expect(row.spent + row.reserved).toBeLessThanOrEqual(row.limit ?? Number.POSITIVE_INFINITY);
    }
  });
  expect((await balance('toolCalls')).spent).toBe(20);
  expect(await auditLedger(server.app.store, tenant)).toEqual([]);
}, 60_000);
