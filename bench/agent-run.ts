/**
 * CPU per agent run: 3 model turns, 4 tool calls, an answer of 64 deltas, streamed over HTTP to the client, with journal,
 * budgets, policy and metrics on; beside it the AI SDK's bare loop on the same upstream.
 *
 * Run: make bench, or node --conditions=nexus-source bench/agent-run.ts [runs] [concurrency]
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';

const runs = Number(process.argv[2] ?? 1000);
const concurrency = Number(process.argv[3] ?? 50);
const warmup = 300;
const here = import.meta.dirname;

function start(args: readonly string[], nodeArgs: readonly string[] = []) {
  const child = spawn(process.execPath, ['--conditions=nexus-source', '--disable-warning=ExperimentalWarning', ...nodeArgs, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let buffer = '';
  const waiting: ((line: string) => void)[] = [];
  child.stdout?.on('data', (data: Buffer) => {
    buffer += data.toString();
    for (let end = buffer.indexOf('\n'); end >= 0; end = buffer.indexOf('\n')) {
      waiting.shift()?.(buffer.slice(0, end));
      buffer = buffer.slice(end + 1);
    }
  });
  return { child, line: () => new Promise<string>((resolve) => waiting.push(resolve)) };
}

/** User and system CPU of a process and its threads, in ms. */
function cpuMs(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const mock = start([join(here, 'mock-upstream.mjs')]);
const upstream = `http://127.0.0.1:${await mock.line()}`;
const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
const server = start(
  [join(here, 'nexus-server.ts'), upstream, dataDir, process.env.BENCH_DATABASE_URL ?? ''],
  process.env.BENCH_SERVER_ARGS?.split(' '),
);
const url = await server.line();
const client = new Agent({ connections: concurrency, pipelining: 1, headersTimeout: 60_000, bodyTimeout: 60_000 });

const json = async (path: string, body: unknown) => {
  const answer = await request(`${url}${path}`, {
    method: 'POST',
    dispatcher: client,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: answer.statusCode, body: await answer.body.text() };
};
const put = await json('/v1/agents', {
  name: 'bench',
  models: ['mock/mock'],
  instructions: 'Look the keys up and answer.',
  tools: ['lookup'],
  policy: { allow: ['lookup'] },
});
if (put.status >= 300) throw new Error(put.body);

async function once(base: string): Promise<void> {
  const answer = await request(`${base}/v1/agents/chat/stream`, {
    method: 'POST',
    dispatcher: client,
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ agent: 'bench', input: 'Look the keys up and answer.', budget: { costMicroUsd: 1_000_000, tokens: 1_000_000 } }),
  });
  const text = await answer.body.text();
  if (!text.includes('event: run.completed')) throw new Error(`a run did not complete: ${text.slice(-600)}`);
}
async function many(base: string, count: number): Promise<number> {
  let left = count;
  const started = performance.now();
  const lane = async () => {
    while (left-- > 0) await once(base);
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return performance.now() - started;
}
/** Warms up, then measures: CPU of the whole server process per run. */
async function measure(name: string, base: string, pid: number | undefined): Promise<number> {
  await many(base, warmup);
  const before = cpuMs(pid);
  const elapsed = await many(base, runs);
  const each = (cpuMs(pid) - before) / runs;
  process.stdout.write(
    `${name.padEnd(8)} ${each.toFixed(2)} CPU ms per run (all threads), ${((runs / elapsed) * 1000).toFixed(0)} runs/s\n`,
  );
  return each;
}

const nexus = await measure('nexus', url, server.child.pid);
const floor = start([join(here, 'floor-server.mjs'), upstream]);
const raw = await measure('floor', await floor.line(), floor.child.pid);
floor.child.kill('SIGTERM');
process.stdout.write(`         nexus / floor ${(nexus / raw).toFixed(2)}\n`);

const peers = join(here, 'peers');
if (existsSync(join(peers, 'node_modules', 'ai'))) {
  const peer = start([join(peers, 'ai-sdk.mjs'), upstream, String(Math.min(runs, 500)), String(concurrency), '100']);
  const result = JSON.parse(await peer.line()) as { cpuMsPerRun: number; runsPerSecond: number };
  process.stdout.write(`ai-sdk   ${result.cpuMsPerRun.toFixed(2)} CPU ms per run, ${result.runsPerSecond.toFixed(0)} runs/s\n`);
  process.stdout.write(`ratio    ${(nexus / result.cpuMsPerRun).toFixed(2)} (bar: 0.35)\n`);
} else {
  process.stdout.write('ai-sdk   not measured: install it with npm ci in bench/peers\n');
}
server.child.kill('SIGTERM');
await new Promise((resolve) => server.child.once('exit', resolve));
mock.child.stdin?.end();
await client.close();
rmSync(dataDir, { recursive: true, force: true });
