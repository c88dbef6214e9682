/**
 * One run with many readers: what a delivered delta costs the server, and how long after the model sent it a reader has it. Beside it,
 * on the same upstream and in turns with it, a server that does the least that such a server must.
 *
 *   node --conditions=nexus-source bench/fan-out.ts [--readers 1000] [--rounds 3] [--seconds 4]
 */
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { cpuMs, pause, rssMb, start, startPlatform } from './support/processes.ts';
import { startReaders } from './support/readers.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    readers: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
  },
});
const count = Number(values.readers);
const ms = Number(values.seconds) * 1000;
/** Each delta is an event of its own: they are further apart than deltas are held back for. */
const everyMs = 100;

interface Contestant {
  readonly name: string;
  readonly url: string;
  readonly path: string;
  readonly pid: number | undefined;
}

const platform = await startPlatform({ mockArgs: ['stamped', String(everyMs)] });
const client = createClient(platform.url, 10);
await client.putAgent();
const started = await client.post('/v1/runs', runRequest);
if (started.status !== 202) throw new Error(`a run was answered with ${started.status}: ${started.text}`);
const run = JSON.parse(started.text) as { id: string }; // a run of the API
const floor = start('floor-fan-out.mjs', [platform.upstream]);
const contestants: readonly Contestant[] = [
  { name: 'floor', url: await floor.line(), path: '/', pid: floor.child.pid },
  { name: 'nexus', url: platform.url, path: `/v1/runs/${run.id}/events`, pid: platform.server.child.pid },
];
const readers = startReaders(2);
const samples = new Map<string, { cpu: number; p50: number; p99: number; rss: number }[]>();

for (let round = 0; round < Number(values.rounds); round++) {
  for (const { name, url, path, pid } of contestants) {
    const idle = await cpuDuring(pid, () => pause(1000));
    await readers.open({ count, url, path });
    await pause(1000);
    let heard = { deltas: 0, p50: 0, p99: 0 };
    const cpu = await cpuDuring(pid, async () => {
      heard = await readers.measure(ms);
    });
    const rss = rssMb(pid);
    await readers.leave();
    const found = samples.get(name) ?? [];
    found.push({ cpu: ((cpu.ms - (idle.ms * cpu.elapsed) / idle.elapsed) / heard.deltas) * 1000, ...heard, rss });
    samples.set(name, found);
    await pause(500);
  }
}
await readers.stop();
await client.close();
await floor.stop('SIGKILL');
await platform.close('SIGKILL');

const of = (name: string, what: 'cpu' | 'p50' | 'p99' | 'rss') => median((samples.get(name) ?? []).map((sample) => sample[what]));
const figures: Figure[] = contestants.flatMap(({ name }) => [
  {
    name: `${name}: CPU per delta and reader, ${count} readers of one run`,
    value: of(name, 'cpu'),
    unit: 'µs',
    ...(name === 'nexus' ? { bar: { op: '<=' as const, value: 25 } } : {}),
  },
  { name: `${name}: from the model to a reader, p50`, value: of(name, 'p50'), unit: 'ms' },
  {
    name: `${name}: from the model to a reader, p99`,
    value: of(name, 'p99'),
    unit: 'ms',
    ...(name === 'nexus' ? { bar: { op: '<=' as const, value: 25 } } : {}),
  },
  { name: `${name}: RSS with its readers`, value: of(name, 'rss'), unit: 'MB' },
]);
figures.push({ name: 'nexus / floor: CPU', value: of('nexus', 'cpu') / of('floor', 'cpu'), unit: '' });
report('fan-out', figures, [
  `median of ${values.rounds} rounds of ${values.seconds} s in turns, a delta each ${everyMs} ms; CPU of all threads, without what the run costs that nobody reads`,
]);

async function cpuDuring(pid: number | undefined, work: () => Promise<void>): Promise<{ ms: number; elapsed: number }> {
  const [before, from] = [cpuMs(pid), performance.now()];
  await work();
  return { ms: cpuMs(pid) - before, elapsed: performance.now() - from };
}
