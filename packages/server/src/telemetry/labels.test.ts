import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { createMetrics, type Metrics } from './index.ts';

let metrics: Metrics = createMetrics();
afterEach(() => metrics.close());

async function seriesOf(counted: Metrics): Promise<ReadonlySet<string>> {
  const { body } = await counted.scrape();
  return new Set(body.split('\n').flatMap((line) => (line === '' || line.startsWith('#') ? [] : [line.slice(0, line.lastIndexOf(' '))])));
}

/** A server whose every series that its own work makes is there already. */
async function started(): Promise<Metrics> {
  const counted = createMetrics();
  counted.observeNames({ models: async () => [{ provider: 'sim', model: 'sim-large' }], tools: async () => [{ name: 'fs_read' }] }, [
    'ollama/qwen3',
  ]);
  await counted.scrape();
  counted.modelCompleted({ provider: 'sim', model: 'sim-large', durationMs: 1 });
  counted.modelCompleted({ provider: 'ollama', model: 'qwen3', durationMs: 1 });
  counted.toolCompleted({ tool: 'fs_read', durationMs: 1 });
  return counted;
}

/** Whatever the types say: a journal, a database and a server of somebody else may hold any word. */
const anything = <T>(value: string) => value as T;

it('tells no more series apart after 2,100 requests with made-up names of every kind [verifies hostile.provider.labels]', async () => {
  metrics = await started();
  const before = await seriesOf(metrics);
  for (let index = 0; index < 2_100; index++) {
    const name = `made-up-${index}`;
    metrics.requestCompleted({ method: name.toUpperCase(), route: 'unmatched', status: 404, durationMs: 1 });
    metrics.requestRefused(anything(name));
    metrics.modelCompleted({ provider: name, model: name, durationMs: 1, error: anything(name), costMicroUsd: 1, inputTokens: 1 });
    metrics.modelCompleted({ provider: 'sim', model: `sim-large?script=${name}`, durationMs: 1 });
    metrics.toolCompleted({ tool: name, durationMs: 1, error: anything(name) });
    metrics.toolCompleted({ tool: `agent_${name}`, durationMs: 1 });
    metrics.policyDecision(anything(name), anything(name));
    metrics.approvalDecided(name);
    metrics.budgetOperation(anything(name));
    metrics.retentionDeleted(name, 1);
    metrics.runFinished({ status: anything(name), durationMs: 1, error: anything(name) });
    metrics.streamClosed({ outcome: anything(name), durationMs: 1 });
  }
  const after = await seriesOf(metrics);
  const fresh = [...after].filter((series) => !before.has(series));
  expect(fresh.filter((series) => series.includes('made-up'))).toEqual([]);
  // One `other` for each label: histograms have a line for each of their buckets.
  expect(new Set(fresh.map((series) => series.replace(/_(bucket|sum|count)\b|,?le="[^"]*"/g, ''))).size).toBeLessThanOrEqual(20);
});

it('counts a path, and a method, that there is not in series that were there before', async () => {
  metrics = await started();
  const before = await seriesOf(metrics);
  for (const method of ['GET', 'PROPFIND', 'BREW', 'DELETE', 'constructor', '__proto__'])
    metrics.requestCompleted({ method, route: 'unmatched', status: 404, durationMs: 1 });
  expect([...(await seriesOf(metrics))].filter((series) => !before.has(series))).toEqual([]);
});

it('tells configured names apart, and no more than a hundred of them', async () => {
  metrics = createMetrics();
  const models = Array.from({ length: 5_000 }, (_, index) => ({ provider: 'p', model: `m${index}` }));
  metrics.observeNames({ models: async () => models, tools: async () => Promise.reject(new Error('gone')) });
  await metrics.scrape();
  for (const call of models) metrics.modelCompleted({ ...call, durationMs: 1 });
  const told = [...(await seriesOf(metrics))].filter((series) => series.startsWith('gen_ai_client_operation_duration_seconds_count'));
  expect(told).toHaveLength(101);
  expect(told.some((series) => series.includes('"m7"'))).toBe(true);
});

it('has no metric whose labels are not declared with their sets', () => {
  const folder = import.meta.dirname;
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))) {
    const source = readFileSync(join(folder, file), 'utf8');
    if (file === 'instruments.ts') {
      // The three places through which every label goes.
      expect(source.match(/labelNames/g), file).toHaveLength(3);
      expect(source.match(/labelNames: Object\.keys\(sets\)/g), file).toHaveLength(3);
      expect(source.match(/\bnew (Counter|Gauge|Histogram)\(/g), file).toHaveLength(6);
    } else if (/\b(Counter|Gauge|Histogram)\b.*from 'prom-client'/.test(source)) {
      expect(['process-metrics.ts', 'store-metrics.ts'], file).toContain(file); // what they show is of this process, and of our own queries
    }
  }
});
