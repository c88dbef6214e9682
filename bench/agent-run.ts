/**
 * CPU per agent run: 3 model turns, 4 tool calls, an answer of 64 deltas, streamed over HTTP to the client, with journal,
 * budgets, policy and metrics on. Beside it, on the same upstream and in turns with it, a server that does the least
 * that such a server must, and the AI SDK's bare loop, which has no server around it.
 *
 *   node --conditions=nexus-source bench/agent-run.ts [--runs 300] [--rounds 3] [--warmup 800] [--concurrency 50]
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient, runRequest } from './support/client.ts';
import { cpuMs, inLanes, start, startPlatform } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '300' },
    rounds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '800' },
    concurrency: { type: 'string', default: '50' },
  },
});
const runs = Number(values.runs);
const concurrency = Number(values.concurrency);

/** One of those that are compared: makes `count` runs and resolves with the elapsed ms. */
interface Contestant {
  readonly name: string;
  readonly pid: number | undefined;
  make(count: number): Promise<number>;
  stop(): Promise<void>;
}

function overHttp(name: string, pid: number | undefined, url: string, stop: () => Promise<void>): Contestant {
  const client = createClient(url, concurrency);
  return {
    name,
    pid,
    make: (count) =>
      inLanes(concurrency, count, async () => {
        const text = await (await client.stream('/v1/agents/chat/stream', runRequest)).text();
        if (!text.includes('event: run.completed')) throw new Error(`a run did not complete: ${text.slice(-600)}`);
      }),
    async stop() {
      await client.close();
      await stop();
    },
  };
}

const platform = await startPlatform({ databaseUrl: process.env.BENCH_DATABASE_URL ?? '' });
const client = createClient(platform.url, 1);
await client.putAgent();
await client.close();
const floor = start('floor-server.mjs', [platform.upstream]);
const contestants: Contestant[] = [
  overHttp('floor', floor.child.pid, await floor.line(), () => floor.stop()),
  overHttp('nexus', platform.server.child.pid, platform.url, async () => undefined),
];
const notes = [
  `${concurrency} concurrent, after ${values.warmup} runs of warm-up each; median of ${values.rounds} rounds of ${runs} runs in turns; all threads`,
];
if (existsSync(join(import.meta.dirname, 'peers', 'node_modules', 'ai'))) {
  const peer = start('peers/ai-sdk.mjs', [platform.upstream, String(concurrency)]);
  contestants.push({
    name: 'ai-sdk',
    pid: peer.child.pid,
    async make(count) {
      peer.child.stdin?.write(`${count}\n`);
      return (JSON.parse(await peer.line()) as { elapsedMs: number }).elapsedMs; // printed by ai-sdk.mjs
    },
    stop: () => peer.stop(),
  });
} else {
  notes.push('the AI SDK is not installed (npm ci in bench/peers installs it): there is no ratio to it');
}

const samples = new Map<string, { cpu: number; perSecond: number }[]>(contestants.map(({ name }) => [name, []]));
for (const { make } of contestants) await make(Number(values.warmup));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const { name, pid, make } of contestants) {
    const before = cpuMs(pid);
    const elapsedMs = await make(runs);
    samples.get(name)?.push({ cpu: (cpuMs(pid) - before) / runs, perSecond: (runs / elapsedMs) * 1000 });
  }
}
for (const { stop } of contestants) await stop();
await platform.close();

const cpuOf = (name: string) => median((samples.get(name) ?? []).map((sample) => sample.cpu));
const rateOf = (name: string) => median((samples.get(name) ?? []).map((sample) => sample.perSecond));
const figures: Figure[] = contestants.flatMap(({ name }) => [
  { name: `${name}: CPU per run`, value: cpuOf(name), unit: 'ms' },
  { name: `${name}: runs`, value: rateOf(name), unit: '/s' },
]);
figures.push({ name: 'nexus / floor', value: cpuOf('nexus') / cpuOf('floor'), unit: '' });
if (samples.has('ai-sdk')) {
  figures.push({ name: 'nexus / ai-sdk', value: cpuOf('nexus') / cpuOf('ai-sdk'), unit: '', bar: { op: '<=', value: 0.35 } });
}
report('agent run', figures, notes);
