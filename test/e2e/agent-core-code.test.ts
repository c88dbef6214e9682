import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JournalEvent, Run } from '@nexus-agent/protocol';
import { afterAll, afterEach, expect, it, vi } from 'vitest';
import type { ConfigInput } from '../../packages/server/src/apps/config/index.ts';
import { type ScriptProcess, startProbingCore, startScript } from './support/core-process.ts';

const root = mkdtempSync(join(tmpdir(), 'nexus-core-code-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

let worlds = 0;

/** An agent core and a process that drives runs, each of which can be killed and started again; one database. */
async function openWorld() {
  const dataDir = join(root, String(++worlds));
  mkdirSync(dataDir);
  const first = await startProbingCore({ dataDir, grpc: { port: 0 } }, dataDir, closers);
  let core = first;
  let driver: ScriptProcess | null = null;
  const startDriver = async () => {
    const flags: ConfigInput = {
      ...{ dataDir, port: 0, log: { level: 'silent' }, auth: { local: 'open' } },
      runs: { pollMs: 50, heartbeatMs: 250, leaseMs: 1_500 },
      tools: { remote: { address: `127.0.0.1:${first.port}`, connectTimeoutMs: 15_000 } },
    };
    driver = await startScript(new URL('./support/server-process.ts', import.meta.url), flags, closers);
  };
  await startDriver();
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${driver?.line}${path}`, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    return response.json();
  };
  await call('POST', '/v1/agents', {
    ...{ name: 'coder', models: ['sim/sim-large'], tools: ['code_js', 'look', 'put', 'pay', 'ask_human', 'fs_*'] },
    policy: { allow: ['*'] },
  });
  const events = async (runId: string): Promise<JournalEvent[]> => {
    const { data } = (await call('GET', `/v1/runs/${runId}/events?limit=1000&after=0`)) as { data: JournalEvent[] }; // of our own API
    return data;
  };
  const until = (runId: string, ...statuses: Run['status'][]) =>
    vi.waitFor(
      async () => {
        const run = (await call('GET', `/v1/runs/${runId}`)) as Run; // as above
        expect(statuses, JSON.stringify(run)).toContain(run.status);
        return run;
      },
      { timeout: 40_000, interval: 100 },
    );
  return {
    ...{ call, events, until },
    calls(): { name: string; of: string; idempotencyKey: string }[] {
      const file = join(dataDir, 'calls');
      return existsSync(file)
        ? readFileSync(file, 'utf8')
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line))
        : [];
    },
    release: (barrier: string) => writeFileSync(join(dataDir, barrier), ''),
    async start(code: string): Promise<string> {
      const input = `[[sim tools=code_js(code=${JSON.stringify(code)})]][[sim say="{{result}}"]]`;
      return ((await call('POST', '/v1/runs', { agent: 'coder', input, budget: { toolCalls: 100 } })) as Run).id; // as above
    },
    async answer(runId: string, result: string) {
      await until(runId, 'waiting');
      const { data } = (await call('GET', '/v1/approvals?status=pending')) as { data: { id: string; runId: string }[] }; // as above
      const { id } = data.find((approval) => approval.runId === runId) ?? { id: '' };
      await call('POST', `/v1/approvals/${id}`, { decision: 'answer', result });
    },
    core: () => core,
    async restartCore() {
      await core.kill();
      core = await startProbingCore({ dataDir, grpc: { port: first.port } }, dataDir, closers);
    },
    async restartDriver() {
      await driver?.kill();
      await startDriver();
    },
    /** What has to be the same, however often a process was lost. */
    async told(runId: string) {
      const journal = await events(runId);
      const run = (await call('GET', `/v1/runs/${runId}`)) as Run; // as above
      const replay = (await call('POST', `/v1/runs/${runId}/replay`)) as { matches: boolean }; // as above
      return {
        ...{ status: run.status, output: run.output, matches: replay.matches },
        suspended: journal.flatMap(({ type, data }) => (type === 'tool.suspended' ? [[data.fuelUsed, data.printed]] : [])),
        requested: journal.flatMap(({ type, data }) => (type === 'tool.requested' ? [data.name] : [])),
        results: journal.flatMap(({ type, data }) => (type === 'tool.completed' ? [[data.name, data.status]] : [])),
      };
    },
  };
}

/** It computes before, between and after its calls, holds memory, and prints: all of that would be missed. */
const program = (calls: readonly string[]) => `
const spin = (n) => { let s = 1; for (let i = 0; i < n; i++) s = (s * 31 + i) % 1000003; return s };
const kept = { sums: [], when: Date.now(), bytes: new Uint8Array(300000).fill(3), results: [] };
${calls.map((call, at) => `kept.sums.push(spin(${(at + 1) * 50_000})); console.log('before ${at}'); kept.results.push(await ${call});`).join('\n')}
({ sums: kept.sums, results: kept.results, filled: kept.bytes.reduce((a, b) => a + b, 0), still: Date.now() === kept.when })`;

const calls = (barrier: string) => [
  `tools.look({ name: 'a' })`,
  `tools.ask_human({ question: 'How much?' })`,
  `tools.put({ name: 'b', barrier: '${barrier}' })`,
  `tools.fs_write({ path: 'note.txt', content: 'from code' })`,
  `tools.fs_read({ path: 'note.txt' })`,
];

it('code goes on in another agent core from its memory, and from another process that drives it [verifies tools.wire.code code.killed]', async () => {
  const world = await openWorld();
  world.release('calm');
  const calm = await world.start(program(calls('calm')));
  await world.answer(calm, '7');
  await world.until(calm, 'completed', 'failed');
  const expected = await world.told(calm);
  expect(expected).toMatchObject({
    ...{ status: 'completed', matches: true, requested: ['code_js', 'look', 'ask_human', 'put', 'fs_write', 'fs_read'] },
    output: expect.stringContaining('"filled":900000,"still":true'),
  });
  expect(expected.suspended).toHaveLength(5);
  const before = world.calls().length;

  const stormy = await world.start(program(calls('calm')));
  await world.until(stormy, 'waiting');
  await world.restartCore(); // while the code waits for a person: no process holds anything of it
  await world.restartDriver();
  await world.answer(stormy, '7');
  await world.until(stormy, 'completed', 'failed');
  expect(await world.told(stormy)).toEqual(expected);
  expect(
    world
      .calls()
      .slice(before)
      .map(({ name, of }) => `${name} ${of}`),
  ).toEqual(['look a', 'put b']);
}, 180_000);

it('the process that drives is killed while the code waits for a tool: what had ended is not done again [verifies tools.wire.code code.killed]', async () => {
  const world = await openWorld();
  const runId = await world.start(
    program([`tools.look({ name: 'a' })`, `tools.put({ name: 'b', barrier: 'go' })`, `tools.look({ name: 'c' })`]),
  );
  await vi.waitFor(() => expect(world.calls()).toHaveLength(2), { timeout: 20_000, interval: 50 });
  await world.restartDriver();
  await vi.waitFor(() => expect(world.calls()).toHaveLength(3), { timeout: 20_000, interval: 50 });
  world.release('go');
  await world.until(runId, 'completed', 'failed');
  expect(await world.told(runId)).toMatchObject({ status: 'completed', matches: true, requested: ['code_js', 'look', 'put', 'look'] });
  const made = world.calls();
  expect(made.map(({ name, of }) => `${name} ${of}`)).toEqual(['look a', 'put b', 'put b', 'look c']);
  expect(made[1]?.idempotencyKey).toBe(made[2]?.idempotencyKey);
}, 180_000);

/** Long enough to be killed in, and short enough for its limits. */
const computing = `
const first = await tools.look({ name: 'a' });
let s = 1; for (let i = 0; i < 12_000_000; i++) s = (s * 31 + i) % 1000003;
const second = await tools.put({ name: 'b' });
({ first, s, second })`;

it.each(['agent core', 'process that drives'] as const)(
  'the %s is killed while the code computes: it computes again from its last wait, and nothing that a call did is repeated [verifies tools.wire.code code.killed]',
  async (which) => {
    const world = await openWorld();
    const calm = await world.start(computing);
    await world.until(calm, 'completed', 'failed');
    const expected = await world.told(calm);
    expect(expected).toMatchObject({ status: 'completed', output: expect.stringContaining('"second":"put b"') });
    const before = world.calls().length;

    const runId = await world.start(computing);
    const resumed = (journal: JournalEvent[]) =>
      journal.filter(({ type, data }) => type === 'tool.started' && 'attempt' in data && data.attempt > 1);
    await vi.waitFor(async () => expect(resumed(await world.events(runId))).toHaveLength(1), { timeout: 20_000, interval: 20 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (which === 'agent core') await world.restartCore();
    else await world.restartDriver();
    await world.until(runId, 'completed', 'failed');
    expect(await world.told(runId)).toEqual(expected);
    expect(
      world
        .calls()
        .slice(before)
        .map(({ name, of }) => `${name} ${of}`),
    ).toEqual(['look a', 'put b']);
  },
  180_000,
);
