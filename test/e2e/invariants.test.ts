import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { silentLogger } from '../../packages/server/src/telemetry/testing/index.ts';
import { execute } from '../support/sql.ts';
import { verifies } from '../support/verifies.ts';
import { startTestServer, type TestServer } from './support/server.ts';

const lines: { readonly fields: Record<string, unknown>; readonly message: string }[] = [];
const logger = { ...silentLogger, error: (fields: object, message: string) => void lines.push({ fields: { ...fields }, message }) };
logger.child = () => logger;

let dataDir: string;
let server: TestServer;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'nexus-invariants-'));
  server = await startTestServer({ dataDir, logger });
  await server.agent('free');
  await server.agent('slow', { models: ['sim/sim-slow'] });
});
afterAll(async () => {
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const told = () => lines.filter(({ fields }) => 'invariant' in fields);

async function counted(): Promise<number> {
  const body: string = (await server.call('GET', '/metrics')).body;
  return Number(/^nexus_invariant_violations_total\{invariant="budget_balance"\} (\d+)$/m.exec(body)?.[1]);
}

it(`a balance that was changed by hand stops who spends from it, is counted and told once, and nobody else notices ${verifies('invariant.told', 'invariant.refused')}`, async () => {
  expect(await counted()).toBe(0);
  const session = await server.session({ agent: 'slow' });
  const runId = await server.start({
    agent: 'slow',
    sessionId: session,
    input:
      '[[sim say="a secret answer that takes its time, word by word by word by word by word by word by word by word"]] a secret question',
  });
  await server.event(runId, 'model.started');
  await execute({ dataDir }, `update budgets set reserved = 0 where scope = 'session:${session}' and unit = 'tokens'`);
  await expect.poll(counted, { timeout: 15_000 }).toBeGreaterThan(0);
  const [line] = told();
  expect(line).toMatchObject({
    fields: { invariant: 'budget_balance', tenantId: 'default', balance: `session:${session}|tokens|total`, spent: expect.any(Number) },
    message: expect.stringContaining('docs/metrics.md'),
  });
  expect(JSON.stringify(told())).not.toContain('secret');

  const { run } = await server.finish({ agent: 'free', input: '[[sim say="ok"]]' });
  expect(run.status).toBe('completed');
  expect(told()).toHaveLength(1);

  // As the page on metrics says: the balance is taken away, and is counted anew when it is limited again.
  await execute({ dataDir }, `delete from budgets where scope = 'session:${session}' and unit = 'tokens'`);
  expect((await server.until(runId, 'completed', 'failed')).id).toBe(runId);
  await server.verifyRuns();
});
