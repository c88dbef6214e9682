/**
 * How much of a limit is spent before the first call is refused, with many clients on one tenant: each call reserves several
 * times what it costs, so that what is held stands in the way of what could still be spent. On the embedded database and on
 * Postgres (found as the tests find it).
 *
 *   node --conditions=nexus-source bench/admission.ts [--clients 64] [--limit 250000] [--latency 400]
 *
 * Amounts are micro-USD: a call costs about 6,000 and reserves about 41,000.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Run, TenantId } from '@nexus-agent/protocol';
import { resolveConfig } from '../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../packages/server/src/apps/index.ts';
import { systemClock } from '../packages/server/src/core/index.ts';
import { createModelService } from '../packages/server/src/llm/index.ts';
import { createSimProvider } from '../packages/server/src/llm/providers/index.ts';
import { startSimulator } from '../packages/server/src/llm/sim/index.ts';
import { silentLogger } from '../packages/server/src/telemetry/testing/index.ts';
import { acquirePostgres } from '../test/support/postgres.ts';
import { type Figure, report } from './support/report.ts';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '64' },
    limit: { type: 'string', default: '250000' },
    latency: { type: 'string', default: '400' },
  },
});
const clients = Number(values.clients);
const limit = Number(values.limit);
const agent = { name: 'talker', instructions: 'Talk.', models: ['sim/sim-large'], tools: [], maxOutputTokens: 10_000 };
const input = '[[sim say="word" tokens=1400]]';

async function measure(name: string, databaseUrl: string | undefined): Promise<Figure[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  mkdirSync(join(dataDir, 'agents'));
  writeFileSync(join(dataDir, 'agents', 'talker.yaml'), JSON.stringify(agent));
  const simulator = await startSimulator({ knobs: { latencyMs: Number(values.latency) } });
  const llm = createModelService({
    providers: [createSimProvider({ name: 'sim', url: simulator.url, clock: systemClock })],
    clock: systemClock,
    random: Math.random,
  });
  const app = await startAllInOne({
    config: resolveConfig({
      env: {},
      flags: { dataDir, port: 0, auth: { local: 'open' }, ...(databaseUrl === undefined ? {} : { databaseUrl }) },
    }),
    version: '0.0.0',
    models: { llm, defaultModels: ['sim/sim-large'] },
    logger: silentLogger,
  });
  const scope = { kind: 'tenant', id: 'default' } as const;
  const spent = async () => {
    const { items } = await app.store.listBudgets(TenantId.parse('default'), { scopes: [scope] }, Date.now(), { limit: 10 });
    return items.find(({ unit }) => unit === 'costMicroUsd')?.spent ?? 0;
  };
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${app.url}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Run }; // of a run, or a problem that nobody reads
  };
  let refusedAt: number | null = null;
  const startedAt = performance.now();
  let refusedAfterMs = 0;

  async function client(): Promise<void> {
    while (refusedAt === null) {
      const started = await call('POST', '/v1/runs', { agent: 'talker', input });
      let isRefused = started.status === 402;
      if (started.status < 300) {
        let run = started.body;
        while (!['completed', 'failed', 'cancelled'].includes(run.status)) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          run = (await call('GET', `/v1/runs/${run.id}`)).body;
        }
        isRefused = run.status === 'failed' && run.error?.code === 'budget_exceeded';
      }
      if (!isRefused || refusedAt !== null) continue;
      refusedAt = await spent();
      refusedAfterMs = performance.now() - startedAt;
    }
  }

  try {
    await call('PUT', '/v1/budgets', { scope, unit: 'costMicroUsd', window: 'total', limit });
    await Promise.all(Array.from({ length: clients }, client));
    const end = await spent();
    return [
      {
        name: `${name}: share of a limit spent before the first refusal, ${clients} clients`,
        value: (100 * (refusedAt ?? 0)) / limit,
        unit: '%',
        bar: { op: '>=', value: 50 },
      },
      { name: `${name}: time until then`, value: refusedAfterMs / 1000, unit: 's' },
      {
        name: `${name}: spent beyond the limit in the end`,
        value: Math.max(0, end - limit),
        unit: 'micro-USD',
        bar: { op: '<=', value: 0 },
      },
    ];
  } finally {
    await app.close();
    await llm.close();
    await simulator.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const figures: Figure[] = await measure('sqlite', undefined);
const notes: string[] = [];
const postgres = await acquirePostgres();
if ('reason' in postgres) {
  notes.push(`Postgres was not measured: ${postgres.reason}`);
} else {
  try {
    figures.push(...(await measure('postgres', postgres.url)));
  } finally {
    await postgres.close();
  }
}
report('admission', figures, notes);
