/**
 * What code of models costs: CPU of a program on a warm thread and on the first one, memory of a warm thread and of a program that waits,
 * and whether runs that start more programs at once than there are threads get their results.
 *
 *   node --conditions=nexus-source --expose-gc bench/sandbox.ts [--programs 400] [--runs 50] [--waiters 5000]
 *
 * CPU is that of the whole process, threads included; a program gives `1 + 1`, so that what is measured is everything around it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Run } from '@nexus-agent/protocol';
import { resolveConfig } from '../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../packages/server/src/apps/index.ts';
import { createShares, systemClock, systemTimers } from '../packages/server/src/core/index.ts';
import { createModelService } from '../packages/server/src/llm/index.ts';
import { createSimProvider } from '../packages/server/src/llm/providers/index.ts';
import { startSimulator } from '../packages/server/src/llm/sim/index.ts';
import { silentLogger } from '../packages/server/src/telemetry/testing/index.ts';
import { createSandbox } from '../packages/server/src/tools/index.ts';
import { readArguments } from './support/arguments.ts';
import { type Figure, median, percentile, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    programs: { type: 'string', default: '400' },
    runs: { type: 'string', default: '50' },
    waiters: { type: 'string', default: '5000' },
  },
});
const programs = Number(values.programs);
const runs = Number(values.runs);
const waiters = Number(values.waiters);
const rounds = 5;
const callsPerRun = 4;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');
const mebibyte = 1024 * 1024;

async function cpuOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

async function measurePrograms(): Promise<Figure[]> {
  const sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, spareThreads: 0 });
  const run = async (code: string) => {
    const result = await sandbox.run({ code });
    if (result.type !== 'ok') throw new Error(result.error.message);
  };
  const many = async () => {
    for (let index = 0; index < programs / rounds; index++) await run('1 + 1');
  };
  const first = await cpuOf(() => run('1 + 1'));
  await many();
  const each: number[] = [];
  for (let round = 0; round < rounds; round++) each.push((await cpuOf(many)) / (programs / rounds));
  await sandbox.close();
  return [
    { name: 'CPU of a program on a warm thread, median of 5 rounds', value: median(each), unit: 'ms', bar: { op: '<=', value: 2 } },
    { name: 'CPU of the first program, start of its thread included', value: first, unit: 'ms' },
  ];
}

async function measureMemory(): Promise<Figure[]> {
  const threads = 4;
  const sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: threads, spareThreads: 0 });
  const warm = (count: number) =>
    Promise.all(Array.from({ length: count }, () => sandbox.run({ code: 'let n = 0; for (let i = 0; i < 2e5; i++) n++; n' })));
  await warm(1);
  collect();
  const one = process.memoryUsage().rss;
  for (let round = 0; round < 5; round++) await warm(threads);
  collect();
  const all = process.memoryUsage().rss;
  await sandbox.close();
  return [{ name: 'memory of a warm thread (RSS)', value: (all - one) / mebibyte / (threads - 1), unit: 'MiB' }];
}

async function measureQueue(): Promise<Figure[]> {
  const settings = { maxWaitMs: '', maxWaiting: '' };
  const options = { what: 'programs', places: 1, spare: 0, maxWaitMs: 60_000, maxWaiting: 1e9, settings };
  const shares = createShares({ clock: systemClock, timers: systemTimers, ...options });
  const holder = (index: number) => ({ tenantId: `tenant ${index % 50}`, sessionId: `session ${index % 1_000}`, runId: `run ${index}` });
  const controller = new AbortController();
  const first = await shares.enter(holder(0));
  collect();
  const before = process.memoryUsage().heapUsed;
  const waiting = Array.from({ length: waiters }, (_, index) => shares.enter(holder(index), AbortSignal.any([controller.signal])));
  collect();
  const after = process.memoryUsage().heapUsed;
  const cpu = await cpuOf(async () => {
    first.leave();
    for (const each of waiting) (await each).leave();
  });
  return [
    { name: `memory of a program that waits, beside its arguments, of ${waiters}`, value: (after - before) / waiters / 1024, unit: 'KiB' },
    { name: 'CPU of a turn, each with a run of its own', value: (cpu / waiters) * 1_000, unit: 'µs' },
  ];
}

/** Runs that start four programs each, all at once, through the whole platform. */
async function measureRuns(): Promise<Figure[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  mkdirSync(join(dataDir, 'agents'));
  const agent = { name: 'coder', instructions: 'Compute.', models: ['sim/sim-large'], tools: ['code_js'], policy: { allow: ['code_js'] } };
  writeFileSync(join(dataDir, 'agents', 'coder.yaml'), JSON.stringify(agent));
  const simulator = await startSimulator();
  const providers = [createSimProvider({ name: 'sim', url: simulator.url, clock: systemClock })];
  const llm = createModelService({ providers, clock: systemClock, random: Math.random });
  const flags = { dataDir, port: 0, auth: { local: 'open' } } as const;
  const app = await startAllInOne({
    config: resolveConfig({ env: {}, flags }),
    version: '0.0.0',
    models: { llm, defaultModels: ['sim/sim-large'] },
    logger: silentLogger,
  });
  const call = async (method: string, path: string, body?: unknown) => {
    const init = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    return (await fetch(`${app.url}${path}`, { method, ...init })).json();
  };
  const calls = Array.from({ length: callsPerRun }, (_, index) => `code_js(code="${index} + 1")`).join(',');
  const waits: number[] = [];
  let errors = 0;
  async function one(): Promise<void> {
    let run = (await call('POST', '/v1/runs', { agent: 'coder', input: `[[sim tools=${calls}]] [[sim say="done"]]` })) as Run; // of our own API
    while (!['completed', 'failed', 'cancelled'].includes(run.status)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      run = (await call('GET', `/v1/runs/${run.id}`)) as Run; // as above
    }
    const log = (await call('GET', `/v1/runs/${run.id}/events?limit=1000&after=0`)) as {
      data: { type: string; data: { status?: string; waitedMs?: number } }[];
    };
    const ends = log.data.filter(({ type }) => type === 'tool.completed').map(({ data }) => data);
    errors += callsPerRun - ends.filter(({ status }) => status === 'ok').length;
    waits.push(...ends.map(({ waitedMs = 0 }) => waitedMs));
  }
  try {
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: runs }, one));
    const seconds = (performance.now() - startedAt) / 1_000;
    return [
      {
        name: `${runs} runs with ${callsPerRun} programs each at once: programs without a result`,
        value: errors,
        unit: '',
        bar: { op: '<=', value: 0 },
      },
      { name: 'time until all had ended', value: seconds, unit: 's' },
      { name: 'wait of a program, p95', value: percentile(waits, 0.95), unit: 'ms' },
    ];
  } finally {
    await app.close();
    await llm.close();
    await simulator.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

report('sandbox', [...(await measurePrograms()), ...(await measureMemory()), ...(await measureQueue()), ...(await measureRuns())]);
