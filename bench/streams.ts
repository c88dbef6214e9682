/**
 * Events over SSE: subscribers of live runs whose answers stream without an end.
 *
 *   node --conditions=nexus-source bench/streams.ts [--runs 20] [--subscribers 50] [--seconds 5]
 */
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { cpuMs, inLanes, pause, startPlatform } from './support/processes.ts';
import { report } from './support/report.ts';

const { values } = readArguments({
  options: {
    runs: { type: 'string', default: '20' },
    subscribers: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '5' },
  },
});
const runs = Number(values.runs);
const subscribers = runs * Number(values.subscribers);

const platform = await startPlatform({ mockArgs: ['live', '40'] });
const { pid } = platform.server.child;
const client = createClient(platform.url, subscribers + 10);
await client.putAgent();
const runIds: string[] = [];
for (let index = 0; index < runs; index++) {
  const answer = await client.post('/v1/runs', runRequest);
  if (answer.status !== 202) throw new Error(`a run was answered with ${answer.status}: ${answer.text}`);
  runIds.push((JSON.parse(answer.text) as { id: string }).id); // a run of the API
}
const cpuOfRunsAlone = await cpuDuring(2000);

let events = 0;
let open = true;
const reading: Promise<void>[] = [];
await inLanes(50, subscribers, async (index) => {
  const body = await client.stream(`/v1/runs/${runIds[index % runs]}/events`);
  reading.push(
    (async () => {
      try {
        for await (const piece of body) {
          const text = (piece as Buffer).toString('latin1'); // a body without an encoding yields buffers
          for (let at = text.indexOf('\n\n'); at >= 0; at = text.indexOf('\n\n', at + 2)) events += 1;
        }
      } catch (error) {
        if (open) throw error;
      }
    })(),
  );
});
await pause(1000);
events = 0;
const startedAt = performance.now();
const cpu = await cpuDuring(Number(values.seconds) * 1000);
const perSecond = (events / (performance.now() - startedAt)) * 1000;
open = false;
await client.close();
await Promise.all(reading);
await platform.close('SIGKILL');
report(
  'streams',
  [
    { name: `events/s to ${subscribers} subscribers of ${runs} live runs`, value: perSecond, unit: '/s' },
    { name: 'CPU of the server per event', value: ((cpu - cpuOfRunsAlone) / perSecond) * 1e6, unit: 'µs' },
    { name: 'share of one core that the server used', value: cpu * 100, unit: '%' },
  ],
  ['each run is given at most 25 deltas/s; the CPU of the runs themselves, measured before anybody reads, is taken off'],
);

/** Cores that the server uses over the time. */
async function cpuDuring(ms: number): Promise<number> {
  const before = cpuMs(pid);
  const from = performance.now();
  await pause(ms);
  return (cpuMs(pid) - before) / (performance.now() - from);
}
