/**
 * How much of a limit is spent before the first call is refused, with many clients on one tenant: each call reserves several
 * times what it costs, so that what is held stands in the way of what could still be spent. On the embedded database and on
 * Postgres (found as the tests find it), there with one node and with two that share it and hear nothing of each other; with a limit of
 * a few calls at a time, and one of several times as many.
 *
 *   node --conditions=nexus-source bench/admission.ts [--clients 64] [--limit 250000] [--large 1000000] [--latency 400]
 *
 * Amounts are micro-USD: a call costs about 6,000 and reserves about 41,000. The time until the first refusal is one of waiting: a call that
 * nothing is left for waits until what others hold is spent.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Run, TenantId } from '@nexus-agent/protocol';
import { resolveConfig } from '../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../packages/server/src/apps/index.ts';
import { systemClock } from '../packages/server/src/core/index.ts';
import { createModelService } from '../packages/server/src/llm/index.ts';
import { createSimProvider } from '../packages/server/src/llm/providers/index.ts';
import { startSimulator } from '../packages/server/src/llm/sim/index.ts';
import { silentLogger } from '../packages/server/src/telemetry/testing/index.ts';
import { acquirePostgres } from '../test/support/postgres.ts';
import { readArguments } from './support/arguments.ts';
import { type Figure, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    clients: { type: 'string', default: '64' },
    limit: { type: 'string', default: '250000' },
    large: { type: 'string', default: '1000000' },
    latency: { type: 'string', default: '400' },
  },
});
const clients = Number(values.clients);
const limits = { small: Number(values.limit), large: Number(values.large) };
const agent = { name: 'talker', instructions: 'Talk.', models: ['sim/sim-large'], tools: [], maxOutputTokens: 10_000 };
const refusals: ReadonlySet<string> = new Set(['budget_exceeded', 'budget_contended']);
const input = '[[sim say="word" tokens=1400]]';

interface Case {
  readonly name: string;
  readonly databaseUrl: string | undefined;
  readonly nodes: number;
  readonly limit: number;
}

async function measure({ name, databaseUrl, nodes, limit }: Case): Promise<Figure[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  mkdirSync(join(dataDir, 'agents'));
  writeFileSync(join(dataDir, 'agents', 'talker.yaml'), JSON.stringify(agent));
  const simulator = await startSimulator({ knobs: { latencyMs: Number(values.latency) } });
  const llm = createModelService({
    providers: [createSimProvider({ name: 'sim', url: simulator.url, clock: systemClock })],
    clock: systemClock,
    random: Math.random,
  });
  const startNode = () =>
    startAllInOne({
      config: resolveConfig({
        env: {},
        flags: { dataDir, port: 0, auth: { local: 'open' }, ...(databaseUrl === undefined ? {} : { databaseUrl }) },
      }),
      version: '0.0.0',
      models: { llm, defaultModels: ['sim/sim-large'] },
      logger: silentLogger,
    });
  const app = await startNode();
  const apps = [app];
  while (apps.length < nodes) apps.push(await startNode());
  const scope = { kind: 'tenant', id: 'default' } as const;
  const spent = async () => {
    const { items } = await app.store.listBudgets(TenantId.parse('default'), { scopes: [scope] }, Date.now(), { limit: 10 });
    return items.find(({ unit }) => unit === 'costMicroUsd')?.spent ?? 0;
  };
  const call = async (method: string, path: string, body?: unknown, url = app.url) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Run }; // of a run, or a problem that nobody reads
  };
  let refusedAt: number | null = null;
  const startedAt = performance.now();
  let refusedAfterMs = 0;

  async function client(index: number): Promise<void> {
    const url = apps[index % apps.length]?.url;
    while (refusedAt === null) {
      const started = await call('POST', '/v1/runs', { agent: 'talker', input }, url);
      let isRefused = started.status === 402 || started.status === 429;
      if (started.status < 300) {
        let run = started.body;
        while (!['completed', 'failed', 'cancelled'].includes(run.status)) {
          await new Promise((resolve) => setTimeout(resolve, 50));
          run = (await call('GET', `/v1/runs/${run.id}`, undefined, url)).body;
        }
        isRefused = run.status === 'failed' && refusals.has(run.error?.code ?? '');
      }
      if (!isRefused || refusedAt !== null) continue;
      refusedAt = await spent();
      refusedAfterMs = performance.now() - startedAt;
    }
  }

  try {
    await call('PUT', '/v1/budgets', { scope, unit: 'costMicroUsd', window: 'total', limit });
    await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
    const end = await spent();
    return [
      {
        name: `${name}: share of a limit spent before the first refusal, ${clients} clients`,
        value: (100 * (refusedAt ?? 0)) / limit,
        unit: '%',
        bar: { op: '>=', value: 60 },
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
    await Promise.all(apps.map((each) => each.close()));
    await llm.close();
    await simulator.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const figures: Figure[] = [];
const notes: string[] = [];
for (const [size, limit] of Object.entries(limits))
  figures.push(...(await measure({ name: `sqlite, ${size} limit`, databaseUrl: undefined, nodes: 1, limit })));
for (const [size, limit] of Object.entries(limits)) {
  for (const nodes of [1, 2]) {
    // Each in a database of its own.
    const postgres = await acquirePostgres();
    if ('reason' in postgres) {
      notes.push(`Postgres was not measured with ${nodes} nodes and the ${size} limit: ${postgres.reason}`);
      continue;
    }
    try {
      figures.push(
        ...(await measure({
          name: `postgres, ${nodes} node${nodes > 1 ? 's' : ''}, ${size} limit`,
          databaseUrl: postgres.url,
          nodes,
          limit,
        })),
      );
    } finally {
      await postgres.close();
    }
  }
}
report('admission', figures, notes);
