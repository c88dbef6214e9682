/**
 * From the start of `nexus serve` until it answers `/readyz`, its memory when it then does nothing, and what whoever comes first waits
 * for: the first byte of the first run on a mock upstream, the second and third, `/openapi.json`, and how long the event loop stood still
 * for each. From source, and from `dist/` where it is built (npm run build).
 *
 *   node --conditions=nexus-source bench/cold-start.ts [--samples 5]
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { readArguments } from './support/arguments.ts';
import { pause, rssMb, start } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({ options: { samples: { type: 'string', default: '5' } } });
const samples = Number(values.samples);
const server = join(import.meta.dirname, '../packages/server');
const cacheDir = mkdtempSync(join(tmpdir(), 'nexus-bench-cache-'));

const mock = start('mock-upstream.mjs');
const upstream = `http://127.0.0.1:${await mock.line()}/v1`;
const watch = ['--import', join(import.meta.dirname, 'support/loop-watch.mjs')];
const firstRunBody = JSON.stringify({ input: 'Look the keys up.' });

interface Start {
  readonly readyMs: number;
  /** CPU of the process until it was ready, with the one millisecond timer that watches its loop. */
  readonly readyCpuMs: number;
  readonly rssMb: number;
  /** The loop stood still that long, at most, in the two seconds after it was ready. */
  readonly idleHoldMs: number;
  readonly firstByteMs: number;
  readonly firstRunHoldMs: number;
  readonly firstRunCpuMs: number;
  readonly secondByteMs: number;
  readonly openApiMs: number;
  readonly openApiHoldMs: number;
}

async function startOnce(args: readonly string[]): Promise<Start> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  writeFileSync(
    join(dataDir, 'nexus.config.yaml'),
    JSON.stringify({ auth: { local: 'open' }, providers: { compatible: [{ name: 'mock', baseUrl: upstream, models: ['mock'] }] } }),
  );
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...watch, ...args, 'serve', '--port', '0', '--data-dir', dataDir], {
    cwd: dataDir,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, HOME: dataDir, NODE_COMPILE_CACHE: cacheDir },
  });
  let said = '';
  child.stderr.on('data', (data: Buffer) => {
    said += data.toString();
  });
  /** What the loop did since it was last asked. */
  const look = async () => {
    await pause(30); // the watch itself is told of a hold only after it
    said = '';
    child.kill('SIGUSR2');
    while (!/loop-watch .*\n/.test(said)) await pause(1);
    return JSON.parse(/loop-watch (.*)\n/.exec(said)?.[1] ?? '') as { holdMs: number; cpuMs: number }; // written by loop-watch.mjs
  };
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    let text = '';
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`nexus serve ended before it was ready: ${text}`)));
      child.stdout.on('data', (data: Buffer) => {
        text += data.toString();
        const address = /http:\/\/[\w.:]+/.exec(text)?.[0];
        if (address !== undefined) resolve(address);
      });
    });
    const answer = await request(`${url}/readyz`);
    await answer.body.dump();
    if (answer.statusCode !== 200) throw new Error(`/readyz answered ${answer.statusCode}`);
    const readyMs = performance.now() - startedAt;
    const { cpuMs: readyCpuMs } = await look();
    await pause(2000);
    const { holdMs: idleHoldMs, cpuMs: idleCpuMs } = await look();
    const idle = rssMb(child.pid);
    const firstByteMs = await firstByteOf(`${url}/v1/agents/chat/stream`, firstRunBody);
    const { holdMs: firstRunHoldMs, cpuMs: afterFirstRunMs } = await look();
    const firstRunCpuMs = afterFirstRunMs - idleCpuMs;
    const secondByteMs = await firstByteOf(`${url}/v1/agents/chat/stream`, firstRunBody);
    await look();
    const openApiMs = await firstByteOf(`${url}/openapi.json`);
    const { holdMs: openApiHoldMs } = await look();
    return {
      readyMs,
      readyCpuMs,
      rssMb: idle,
      idleHoldMs,
      firstByteMs,
      firstRunHoldMs,
      firstRunCpuMs,
      secondByteMs,
      openApiMs,
      openApiHoldMs,
    };
  } finally {
    child.kill('SIGTERM');
    await exited;
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Milliseconds until the first byte of the body; the whole of it is read. */
async function firstByteOf(url: string, body?: string): Promise<number> {
  const startedAt = performance.now();
  const answer = await request(url, body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  if (answer.statusCode !== 200) throw new Error(`${url} answered ${answer.statusCode}: ${await answer.body.text()}`);
  let firstMs = Number.NaN;
  for await (const _ of answer.body) if (Number.isNaN(firstMs)) firstMs = performance.now() - startedAt;
  return firstMs;
}

function figuresOf(label: string, starts: readonly Start[]): Figure[] {
  const of = (name: string, key: keyof Start, unit: string, bar?: number): Figure => ({
    ...{ name: `${label}: ${name}`, value: median(starts.map((start) => start[key])), unit },
    ...(bar === undefined ? {} : { bar: { op: '<=' as const, value: bar } }),
  });
  const built = label.startsWith('from dist');
  return [
    of('ready', 'readyMs', 'ms', built ? 400 : 1000),
    of('CPU until ready', 'readyCpuMs', 'ms'),
    of('idle memory', 'rssMb', 'MB', built ? 110 : 150),
    of('longest hold of the loop while idle', 'idleHoldMs', 'ms', 50),
    of('first byte of the first run', 'firstByteMs', 'ms', 50),
    of('longest hold of the loop in the first run', 'firstRunHoldMs', 'ms', 50),
    of('CPU of the first run', 'firstRunCpuMs', 'ms'),
    of('first byte of the second run', 'secondByteMs', 'ms'),
    of('first /openapi.json', 'openApiMs', 'ms'),
    of('longest hold of the loop in it', 'openApiHoldMs', 'ms', 50),
  ];
}

async function several(args: readonly string[]): Promise<Start[]> {
  const starts: Start[] = [];
  for (let sample = 0; sample < samples; sample++) starts.push(await startOnce(args));
  return starts;
}

const figures: Figure[] = [];
const notes = [`median of ${samples} starts; idle memory is RSS two seconds after ready`];
const source = [join(server, 'bin/nexus.mjs')];
figures.push(...figuresOf('from source, nothing compiled before', [await startOnce(source)]));
figures.push(...figuresOf('from source', await several(source)));
const dist = join(server, 'dist/main.js');
if (existsSync(dist)) {
  const script = `process.argv.splice(1, 0, 'nexus'); const { main } = await import(${JSON.stringify(dist)}); process.exitCode = await main(process.argv.slice(2));`;
  const built = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script, '--'];
  figures.push(...figuresOf('from dist, nothing compiled before', [await startOnce(built)]));
  figures.push(...figuresOf('from dist', await several(built)));
} else {
  notes.push('dist/ is not built (npm run build): not measured');
}
await mock.stop();
rmSync(cacheDir, { recursive: true, force: true });
report('cold start', figures, notes);
