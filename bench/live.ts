/**
 * Live runs with a reader each, held in a slow answer of the model (a delta every 5 s) over two server processes that share a database:
 * how control requests are answered meanwhile, and what each run takes. Readers are processes of their own; each has as many
 * descriptors as `ulimit -n` allows, of which a server needs two for a run.
 *
 *   node --conditions=nexus-source bench/live.ts [--runs 10000]
 */
import { acquirePostgres } from '../test/support/postgres.ts';
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { controlTimes, untilLive } from './support/live-runs.ts';
import { cpuMs, pause, startPlatform } from './support/processes.ts';
import { startReaders } from './support/readers.ts';
import { type Figure, percentile, report } from './support/report.ts';

const { values } = readArguments({ options: { runs: { type: 'string', default: '10000' } } });
/** Of each process. */
const runs = Math.floor(Number(values.runs) / 2);
/** What the first runs load and compile is no cost of a run: what the others add is measured. */
const first = 100;
const bodyOf = { path: '/v1/agents/chat/stream', body: runRequest };

const database = await acquirePostgres();
if ('reason' in database) throw new Error(database.reason);
const startNode = async () => {
  const platform = await startPlatform({ mockArgs: ['live', '5000'], databaseUrl: database.url });
  return { platform, client: createClient(platform.url, 20), readers: startReaders(2) };
};
const nodes = [await startNode(), await startNode()];
await nodes[0]?.client.putAgent();
const each = <Answer>(ask: (node: (typeof nodes)[number]) => Promise<Answer>) => Promise.all(nodes.map(ask));
const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

try {
  await each(({ platform, readers }) => readers.open({ count: first, url: platform.url, ...bodyOf }));
  await each(({ platform }) => untilLive(platform, first));
  const before = await each(({ platform }) => platform.usage());
  const startedAt = performance.now();
  await each(({ platform, readers }) => readers.open({ count: runs, url: platform.url, ...bodyOf }));
  const startedMs = performance.now() - startedAt;
  await each(({ platform }) => untilLive(platform, first + runs));
  const [cpuBefore, from] = [nodes.map(({ platform }) => cpuMs(platform.server.child.pid)), performance.now()];
  const [heard, control] = await Promise.all([
    each(({ readers }) => readers.measure(5_000)),
    pause(500).then(async () => (await each(({ client }) => controlTimes(client))).flat()),
  ]);
  const cores = (sum(nodes.map(({ platform }) => cpuMs(platform.server.child.pid))) - sum(cpuBefore)) / (performance.now() - from);
  const after = await each(({ platform }) => platform.usage());
  const grown = (what: 'rss' | 'heapUsed') => (sum(after.map((each) => each[what])) - sum(before.map((each) => each[what]))) / (2 * runs);
  const figures: Figure[] = [
    { name: 'runs live at once', value: sum(after.map(({ liveRuns }) => liveRuns)), unit: '', bar: { op: '>=', value: 2 * runs } },
    { name: 'started', value: ((2 * runs) / startedMs) * 1000, unit: '/s' },
    { name: 'control requests, p50', value: percentile(control, 0.5), unit: 'ms' },
    { name: 'control requests, p95', value: percentile(control, 0.95), unit: 'ms', bar: { op: '<=', value: 50 } },
    { name: 'memory per run', value: grown('rss') / 1024, unit: 'KB', bar: { op: '<=', value: 100 } },
    { name: 'of that, JavaScript heap', value: grown('heapUsed') / 1024, unit: 'KB' },
    { name: 'text to all readers', value: sum(heard.map(({ bytes }) => bytes)) / 5 / 1024, unit: 'KB/s' },
    { name: 'CPU of both servers meanwhile', value: cores * 100, unit: '% of a core' },
  ];
  report(`live runs over two processes`, figures, [
    `${2 * runs} runs with a reader each on Postgres; memory is what RSS grew by over ${2 * first} such runs; control is GET /v1/runs/:id by 10 clients of each process`,
  ]);
} finally {
  await each(({ readers }) => readers.stop());
  await each(({ client }) => client.close());
  await each(({ platform }) => platform.close('SIGKILL'));
  await database.close();
}
