/**
 * Memory per live run, and how the server answers while they live: runs that are held in a slow answer of the model
 * (a delta every 5 s), first each with a reader of its stream, then in the background.
 *
 *   node --conditions=nexus-source bench/memory.ts [--streamed 1000] [--background 10000]
 */
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { controlTimes, untilLive } from './support/live-runs.ts';
import { inLanes, startPlatform } from './support/processes.ts';
import { type Figure, percentile, report } from './support/report.ts';

const { values } = readArguments({
  options: { streamed: { type: 'string', default: '1000' }, background: { type: 'string', default: '10000' } },
});
/** What the first runs load and compile is no cost of a run: what the others add is measured. */
const first = 100;
const figures: Figure[] = [];

await withRuns(Number(values.streamed), 'streamed', { op: '<=', value: 100 });
await withRuns(Number(values.background), 'background', undefined);
report('live runs', figures, [
  `memory per run is what RSS grew by over a server with ${first} such runs, divided by the number of runs added; control is GET /v1/runs/:id by 10 clients`,
]);

async function withRuns(count: number, kind: 'streamed' | 'background', bar: Figure['bar']): Promise<void> {
  const platform = await startPlatform({ mockArgs: ['live', '5000'] });
  const client = createClient(platform.url, kind === 'streamed' ? count + first + 20 : 50);
  let open = true;
  const reading: Promise<unknown>[] = [];
  const startRun = async () => {
    if (kind === 'background') {
      const answer = await client.post('/v1/runs', runRequest);
      if (answer.status !== 202) throw new Error(`a run was answered with ${answer.status}: ${answer.text}`);
      return;
    }
    const body = await client.stream('/v1/agents/chat/stream', runRequest);
    const read = async () => {
      for await (const _ of body);
    };
    reading.push(
      read().catch((error: unknown) => {
        if (open) throw error;
      }),
    );
  };
  await client.putAgent();
  await inLanes(50, first, startRun);
  await untilLive(platform, first);
  const before = await platform.usage();
  const startedAt = performance.now();
  await inLanes(50, count, startRun);
  await untilLive(platform, first + count);
  const elapsedMs = performance.now() - startedAt;
  const control = await controlTimes(client);
  const after = await platform.usage();
  const label = `${count} ${kind} runs`;
  figures.push(
    { name: `${label}: memory per run`, value: (after.rss - before.rss) / count / 1024, unit: 'KB', ...(bar === undefined ? {} : { bar }) },
    { name: `${label}: of that, JavaScript heap`, value: (after.heapUsed - before.heapUsed) / count / 1024, unit: 'KB' },
    { name: `${label}: RSS of the server`, value: after.rss / 1024 ** 2, unit: 'MB' },
    { name: `${label}: started`, value: (count / elapsedMs) * 1000, unit: '/s' },
    { name: `${label}: control requests, p50`, value: percentile(control, 0.5), unit: 'ms' },
    { name: `${label}: control requests, p95`, value: percentile(control, 0.95), unit: 'ms', bar: { op: '<=', value: 500 } },
  );
  open = false;
  await client.close();
  await Promise.all(reading);
  await platform.close('SIGKILL');
}
