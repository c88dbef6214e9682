/**
 * Journalled sessions per second at 50 concurrent, by a client of our own on kept-alive connections, and by ApacheBench
 * (one connection per request) where it is installed.
 *
 *   node --conditions=nexus-source bench/sessions.ts [--count 5000]
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readArguments } from './support/arguments.ts';
import { createClient } from './support/client.ts';
import { cpuMs, inLanes, startPlatform } from './support/processes.ts';
import { type Figure, percentile, report } from './support/report.ts';

const { values } = readArguments({ options: { count: { type: 'string', default: '5000' } } });
const count = Number(values.count);
const concurrency = 50;
const file = join(import.meta.dirname, 'session_create.json');
const body = readFileSync(file, 'utf8');

const platform = await startPlatform();
const client = createClient(platform.url, concurrency);
const times: number[] = [];
const create = async () => {
  const before = performance.now();
  const { status, text } = await client.post('/v1/sessions', body);
  if (status !== 201) throw new Error(`a session was answered with ${status}: ${text}`);
  times.push(performance.now() - before);
};
await inLanes(concurrency, 1000, create);
times.length = 0;
const cpuBefore = cpuMs(platform.server.child.pid);
const elapsedMs = await inLanes(concurrency, count, create);
const figures: Figure[] = [
  { name: 'POST /v1/sessions at 50 concurrent', value: (count / elapsedMs) * 1000, unit: '/s', bar: { op: '>=', value: 2000 } },
  { name: 'p50', value: percentile(times, 0.5), unit: 'ms' },
  { name: 'p95', value: percentile(times, 0.95), unit: 'ms', bar: { op: '<=', value: 50 } },
  { name: 'CPU of the server per session', value: ((cpuMs(platform.server.child.pid) - cpuBefore) / count) * 1000, unit: 'µs' },
];
const notes: string[] = [];
const ab = spawnSync(
  'ab',
  ['-q', '-n', '1000', '-c', '50', '-H', 'Content-Type: application/json', '-p', file, `${platform.url}/v1/sessions`],
  {
    encoding: 'utf8',
  },
);
if (ab.error === undefined) {
  const number = (pattern: RegExp) => Number(pattern.exec(ab.stdout)?.[1] ?? Number.NaN);
  figures.push(
    { name: 'ab -n 1000 -c 50: requests', value: number(/Requests per second:\s+([\d.]+)/), unit: '/s' },
    { name: 'ab -n 1000 -c 50: p95', value: number(/95%\s+(\d+)/), unit: 'ms', bar: { op: '<=', value: 50 } },
    {
      name: 'ab -n 1000 -c 50: failed and non-2xx',
      value: number(/Failed requests:\s+(\d+)/) + Number(/Non-2xx responses:\s+(\d+)/.exec(ab.stdout)?.[1] ?? 0),
      unit: '',
      bar: { op: '<=', value: 0 },
    },
  );
} else {
  notes.push('ab is not installed: only the own client was used');
}
await client.close();
await platform.close();
report('sessions', figures, notes);
