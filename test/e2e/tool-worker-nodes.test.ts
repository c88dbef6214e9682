import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createNexusClient, defineTool, serveTools } from '@nexus-agent/sdk';
import { afterEach, describe, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '../../packages/server/src/apps/testing/index.ts';
import { acquirePostgres } from '../support/postgres.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
}, 60_000);

const call = (tool: string, input = '') => `[[sim tools=${tool}(${input})]] [[sim say="{{result}}"]]`;
const clientOf = ({ url }: TestPlatform) => createNexusClient({ baseUrl: url, retry: { baseMs: 20, maxMs: 200 } });

describe('workers and nodes', () => {
  it('of one database: a worker at one serves the runs of all [verifies workers.nodes]', { timeout: 60_000 }, async ({ skip }) => {
    const postgres = await acquirePostgres();
    if ('reason' in postgres) return skip(postgres.reason);
    open.push(() => postgres.close());
    const node = async () => {
      const started = await startTestPlatform({ config: { databaseUrl: postgres.url, tools: { workers: { leaseMs: 2_000 } } } });
      open.push(() => started.close());
      return started;
    };
    const [one, two] = [await node(), await node()];
    const stopped: string[] = [];
    const began = Promise.withResolvers<void>();
    const tools = [
      defineTool({
        ...{ name: 'double', description: 'x', effects: 'none', input: { type: 'object' } },
        execute: ({ n }, { progress }) => {
          progress('at it');
          return Number(n) * 2;
        },
      }),
      defineTool({
        ...{ name: 'slow', description: 'x', effects: 'none', input: { type: 'object' } },
        execute: (_input, { callId, signal }) =>
          new Promise((_, reject) => {
            began.resolve();
            signal.addEventListener('abort', () => {
              stopped.push(callId);
              reject(signal.reason);
            });
          }),
      }),
    ];
    const worker = serveTools(clientOf(one), tools, { name: 'math' });
    open.push(() => worker.close({ graceMs: 0 }));
    await worker.ready;
    const known = async () => (await clientOf(two).tools.list()).data.some(({ name }) => name === 'double');
    while (!(await known())) await new Promise((resolve) => setTimeout(resolve, 20));
    await two.agent('clerk');
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const at = n % 2 === 0 ? two : one;
        return (await at.until(await at.complete({ agent: 'clerk', input: call('double', `n=${n}`) }), 'completed')).output;
      }),
    );
    expect(answers).toEqual(Array.from({ length: 20 }, (_, n) => String(n * 2)));
    expect((await clientOf(two).toolWorkers.list()).data).toMatchObject([{ pool: 'math' }]);
    const runId = await two.start({ agent: 'clerk', input: call('slow') });
    await began.promise;
    await two.ask('POST', `/v1/runs/${runId}/cancel`, {});
    await two.until(runId, 'cancelled');
    for (let waited = 0; stopped.length === 0 && waited < 5_000; waited += 20) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(stopped).toHaveLength(1);
  });

  it('a thousand of them on one server each get their calls [verifies workers.many]', { timeout: 120_000 }, async () => {
    const nexus = await startTestPlatform();
    open.push(() => nexus.close());
    const client = clientOf(nexus);
    const served = new Map<string, string[]>();
    const workers = Array.from({ length: 1_000 }, (_, index) => {
      const name = `pool_${index % 50}`;
      const tool = defineTool({
        ...{ name: `tool_${index % 50}`, description: 'x', effects: 'none', input: { type: 'object' } },
        execute: ({ n }) => {
          served.set(name, [...(served.get(name) ?? []), String(n)]);
          return `${name} ${n}`;
        },
      });
      return serveTools(client, [tool], { name, maxConcurrent: 2 });
    });
    open.push(() => Promise.all(workers.map((worker) => worker.close({ graceMs: 0 }))));
    const ids = await Promise.all(workers.map(({ ready }) => ready));
    expect(new Set(ids).size).toBe(1_000);
    await nexus.agent('clerk');
    const outputs: unknown[] = [];
    for (let wave = 0; wave < 5; wave++) {
      const wanted = Array.from({ length: 10 }, (_, index) => wave * 10 + index);
      const ended = wanted.map(async (n) => {
        const runId = await nexus.complete({ agent: 'clerk', input: call(`tool_${n}`, `n=${n}`) });
        return (await nexus.until(runId, 'completed')).output;
      });
      outputs.push(...(await Promise.all(ended)));
    }
    expect(outputs).toEqual(Array.from({ length: 50 }, (_, n) => `pool_${n} ${n}`));
    expect([...served.values()].flat()).toHaveLength(50);
  });

  it('in Python, by what the documentation says [verifies workers.wire]', { timeout: 60_000 }, async ({ skip }) => {
    if (spawnSync('python3', ['--version']).status !== 0) return skip('there is no python3 here');
    const nexus = await startTestPlatform();
    open.push(() => nexus.close());
    const child: ChildProcess = spawn('python3', [join(import.meta.dirname, '../../examples/tool-workers/worker.py')], {
      env: { PATH: process.env.PATH, NEXUS_URL: nexus.url },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    open.push(async () => {
      child.kill('SIGKILL');
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', (text: Buffer) => String(text).includes('serving as') && resolve());
      child.on('exit', (code) => reject(new Error(`the worker ended with ${code}`)));
    });
    child.removeAllListeners('exit');
    await nexus.agent('clerk');
    const runId = await nexus.complete({ agent: 'clerk', input: call('word_count', 'text="one two  three"') });
    expect((await nexus.until(runId, 'completed')).output).toBe('{"words":3}');
    const failed = await nexus.complete({ agent: 'clerk', input: call('word_count', 'txt="one"') });
    expect((await nexus.until(failed, 'completed')).output).toContain('tool_input_invalid');
  });
});
