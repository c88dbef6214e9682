/**
 * CPU per agent run: 3 model turns, 4 tool calls, an answer of 64 deltas, streamed over HTTP to the client, with journal,
 * budgets, policy and metrics on. Beside it, on the same upstream and in turns with it, a server that does the least
 * that such a server must, and the AI SDK's bare loop, which has no server around it. The tools do nothing, or they write
 * files and read them. At 50 at a time runs share what they write; at one at a time each waits for itself.
 *
 *   node --conditions=nexus-source bench/agent-run.ts [--runs 300] [--rounds 3] [--warmup 800] [--only 1,8,50,files]
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { cpuMs, inLanes, start, startPlatform, writtenBy } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    runs: { type: 'string', default: '300' },
    rounds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '800' },
    only: { type: 'string', default: '50,8,1,files' },
  },
});
const peerInstalled = existsSync(join(import.meta.dirname, 'peers', 'node_modules', 'ai'));

/** One of those that are compared: makes `count` runs and resolves with the elapsed ms. */
interface Contestant {
  readonly name: string;
  readonly pid: number | undefined;
  make(count: number): Promise<number>;
  stop(): Promise<void>;
}

interface Case {
  readonly title: string;
  readonly concurrency: number;
  readonly files: boolean;
  /** Fewer are enough where they come one after the other. */
  readonly share: number;
  readonly bars: { readonly floor?: number; readonly peer?: number; readonly fileKb?: number };
}
const cases: Readonly<Record<string, Case>> = {
  50: { title: '50 at a time', concurrency: 50, files: false, share: 1, bars: { floor: 2.7, peer: 0.35, fileKb: 200 } },
  8: { title: '8 at a time', concurrency: 8, files: false, share: 0.5, bars: {} },
  1: { title: 'one at a time', concurrency: 1, files: false, share: 0.25, bars: { peer: 1, fileKb: 800 } },
  files: { title: '50 at a time, with files', concurrency: 50, files: true, share: 0.5, bars: {} },
};

function overHttp(name: string, pid: number | undefined, url: string, concurrency: number, stop: () => Promise<void>): Contestant {
  const client = createClient(url, concurrency);
  return {
    name,
    pid,
    make: (count) =>
      inLanes(concurrency, count, async () => {
        const text = await (await client.stream('/v1/agents/chat/stream', runRequest)).text();
        if (!text.includes('event: run.completed') || text.includes('"isError":true')) {
          throw new Error(`a run did not complete: ${text.slice(-600)}`);
        }
      }),
    async stop() {
      await client.close();
      await stop();
    },
  };
}

async function startPeer(upstream: string, concurrency: number): Promise<Contestant> {
  const peer = start('peers/ai-sdk.mjs', [upstream, String(concurrency)]);
  return {
    name: 'ai-sdk',
    pid: peer.child.pid,
    async make(count) {
      peer.child.stdin?.write(`${count}\n`);
      return (JSON.parse(await peer.line()) as { elapsedMs: number }).elapsedMs; // printed by ai-sdk.mjs
    },
    stop: () => peer.stop(),
  };
}

async function measure({ title, concurrency, files, share, bars }: Case): Promise<Figure[]> {
  const runs = Math.ceil(Number(values.runs) * share);
  const platform = await startPlatform({
    databaseUrl: process.env.BENCH_DATABASE_URL ?? '',
    ...(files ? { mockArgs: ['files'] } : {}),
  });
  const client = createClient(platform.url, 1);
  await client.putAgent(files ? ['fs_write', 'fs_read'] : ['lookup']);
  await client.close();
  const floor = start('floor-server.mjs', [platform.upstream]);
  const { pid: server } = platform.server.child;
  const contestants: Contestant[] = [
    overHttp('floor', floor.child.pid, await floor.line(), concurrency, () => floor.stop()),
    overHttp('nexus', server, platform.url, concurrency, async () => undefined),
    ...(peerInstalled ? [await startPeer(platform.upstream, concurrency)] : []),
  ];
  const samples = new Map<string, { cpu: number; perSecond: number; ms: number }[]>(contestants.map(({ name }) => [name, []]));
  for (const { make } of contestants) await make(Math.ceil(Number(values.warmup) * share));
  const [heapBefore, writtenBefore] = [await platform.usage(), writtenBy(server)];
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { name, pid, make } of contestants) {
      const before = cpuMs(pid);
      const elapsedMs = await make(runs);
      samples
        .get(name)
        ?.push({ cpu: (cpuMs(pid) - before) / runs, perSecond: (runs / elapsedMs) * 1000, ms: (elapsedMs / runs) * concurrency });
    }
  }
  const [heap, written] = [await platform.usage(), writtenBy(server)];
  for (const { stop } of contestants) await stop();
  await platform.close();

  const of = (name: string, what: 'cpu' | 'perSecond' | 'ms') => median((samples.get(name) ?? []).map((sample) => sample[what]));
  const all = runs * Number(values.rounds);
  const atMost = (value: number | undefined) => (value === undefined ? {} : { bar: { op: '<=' as const, value } });
  const figures: Figure[] = contestants.flatMap(({ name }) => [
    { name: `${title}, ${name}: CPU per run`, value: of(name, 'cpu'), unit: 'ms' },
    { name: `${title}, ${name}: runs`, value: of(name, 'perSecond'), unit: '/s' },
    { name: `${title}, ${name}: elapsed per run`, value: of(name, 'ms'), unit: 'ms' },
  ]);
  figures.push({ name: `${title}, nexus / floor`, value: of('nexus', 'cpu') / of('floor', 'cpu'), unit: '', ...atMost(bars.floor) });
  if (peerInstalled)
    figures.push({ name: `${title}, nexus / ai-sdk`, value: of('nexus', 'cpu') / of('ai-sdk', 'cpu'), unit: '', ...atMost(bars.peer) });
  figures.push(
    {
      name: `${title}, nexus: written to files per run`,
      value: (written.fileKb - writtenBefore.fileKb) / all,
      unit: 'KB',
      ...atMost(bars.fileKb),
    },
    { name: `${title}, nexus: write calls per run`, value: (written.calls - writtenBefore.calls) / all, unit: '' },
    { name: `${title}, nexus: JavaScript made per run`, value: (heap.allocated - heapBefore.allocated) / all / 1024, unit: 'KB' },
  );
  return figures;
}

const figures: Figure[] = [];
for (const name of values.only.split(',')) {
  const chosen = cases[name];
  if (chosen === undefined) throw new Error(`--only takes ${Object.keys(cases).join(', ')}, not ${name}`);
  figures.push(...(await measure(chosen)));
}
report('agent run', figures, [
  `after ${values.warmup} runs of warm-up each (fewer where fewer run at a time); median of ${values.rounds} rounds of ${values.runs} runs in turns; CPU of all threads`,
  ...(peerInstalled ? [] : ['the AI SDK is not installed (npm ci in bench/peers installs it): there is no ratio to it']),
]);
