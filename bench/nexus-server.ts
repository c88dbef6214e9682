/**
 * The whole platform for the benchmarks: all controls on, models from the mock upstream, one trivial tool. Prints its address; ends on
 * SIGTERM. With `BENCH_WATCH_LOOP` it also tells, on SIGUSR2, how long its event loop stood still since it was last asked, by the
 * clock and in CPU of its thread: on a machine that does other work the first is longer than what the server computes.
 */

import { GCProfiler } from 'node:v8';
import { resolveConfig } from '../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../packages/server/src/apps/index.ts';

const [upstream = '', dataDir = '', databaseUrl = '', contextTokens = ''] = process.argv.slice(2);
const model = { id: 'mock', ...(contextTokens === '' ? {} : { contextTokens: Number(contextTokens) }) };
const app = await startAllInOne({
  version: 'bench',
  config: resolveConfig({
    env: {},
    flags: {
      dataDir,
      port: 0,
      auth: { local: 'open' },
      log: { level: 'error' },
      ...(databaseUrl === '' ? {} : { databaseUrl }),
      sim: { enabled: 'off' },
      providers: { compatible: [{ name: 'mock', baseUrl: `${upstream}/v1`, models: [model] }] },
      prices: { 'mock/mock': { inputMicroUsdPerMillion: 250_000, outputMicroUsdPerMillion: 2_000_000 } },
    },
  }),
  tools: [
    {
      name: 'lookup',
      description: 'Looks a key up',
      inputSchema: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'], additionalProperties: false },
      effects: 'none',
      permissions: [],
      timeoutMs: 10_000,
      execute: async ({ key }) => ({ type: 'ok', output: `value of ${String(key)}` }),
    },
  ],
});
process.stdout.write(`${app.url}\n`);
let profiler = new GCProfiler();
profiler.start();
let allocated = 0;
let usedBefore = process.memoryUsage().heapUsed;
/** What the heap has grown by between collections: all that was made, kept or not. */
function countAllocated(): number {
  for (const { beforeGC, afterGC } of profiler.stop()?.statistics ?? []) {
    allocated += Math.max(0, beforeGC.heapStatistics.usedHeapSize - usedBefore);
    usedBefore = afterGC.heapStatistics.usedHeapSize;
  }
  const { heapUsed } = process.memoryUsage();
  allocated += Math.max(0, heapUsed - usedBefore);
  usedBefore = heapUsed;
  profiler = new GCProfiler();
  profiler.start();
  return allocated;
}
let held = { ms: 0, cpuMs: 0 };
if (process.env.BENCH_WATCH_LOOP !== undefined) {
  const now = () => ({ ms: performance.now(), cpu: process.threadCpuUsage() });
  let last = now();
  setInterval(() => {
    const next = now();
    const cpuMs = (next.cpu.user + next.cpu.system - last.cpu.user - last.cpu.system) / 1000;
    held = { ms: Math.max(held.ms, next.ms - last.ms), cpuMs: Math.max(held.cpuMs, cpuMs) };
    last = next;
  }, 1);
}
process.on('SIGUSR2', () => {
  const { rss, heapUsed } = process.memoryUsage();
  const { liveRuns } = app.orchestrator;
  process.stdout.write(`${JSON.stringify({ rss, heapUsed, liveRuns, allocated: countAllocated(), held })}\n`);
  held = { ms: 0, cpuMs: 0 };
});
process.once('SIGTERM', () => void app.close().then(() => process.exit(0)));
