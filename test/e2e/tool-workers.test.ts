import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TenantId } from '@nexus-agent/protocol';
import { createNexusClient, type DefinedTool, defineTool, type ServeToolsOptions, serveTools, type ToolWorker } from '@nexus-agent/sdk';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startTestPlatform, type TestPlatform } from '../../packages/server/src/apps/testing/index.ts';
import { NexusError } from '../../packages/server/src/core/index.ts';
import { openTestStore } from '../support/stores.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function platform(): Promise<TestPlatform> {
  const started = await startTestPlatform({ config: { tools: { workers: { leaseMs: 1_000 } } } });
  open.push(() => started.close());
  return started;
}

const clientOf = ({ url }: { readonly url: string }, apiKey?: string) =>
  createNexusClient({ baseUrl: url, retry: { baseMs: 20, maxMs: 200 }, ...(apiKey === undefined ? {} : { apiKey }) });

async function serve(nexus: TestPlatform, tools: readonly DefinedTool[], options: ServeToolsOptions = {}): Promise<ToolWorker> {
  const worker = serveTools(clientOf(nexus), tools, { name: 'crm', waitMs: 20_000, ...options });
  open.push(() => worker.close({ graceMs: 0 }));
  await worker.ready;
  return worker;
}

/** A tool that is held until it is let go, and knows how often it was called. */
function heldTool(effects: 'none' | 'idempotent' | 'once') {
  const calls: { readonly callId: string; readonly signal: AbortSignal; done(output: unknown): void }[] = [];
  let arrived = Promise.withResolvers<void>();
  const tool = defineTool({
    name: 'held',
    description: 'for tests',
    input: { type: 'object' },
    effects,
    execute: (_input, { callId, signal }) =>
      new Promise((resolve) => {
        calls.push({ callId, signal, done: resolve });
        arrived.resolve();
        arrived = Promise.withResolvers<void>();
      }),
  });
  return {
    tool,
    calls,
    async taken(count: number) {
      while (calls.length < count) await arrived.promise;
      return calls[count - 1] as (typeof calls)[number]; // there are so many
    },
  };
}

const call = (tool: string, input = '') => `[[sim tools=${tool}(${input})]] [[sim say="{{result}}"]]`;
const lookup = () =>
  defineTool({
    name: 'crm_lookup',
    description: 'The account of a customer',
    input: z.object({ customer: z.string(), fields: z.array(z.string()).default(['name']) }),
    effects: 'none',
    permissions: ['crm.read'],
    execute({ customer, fields }, { progress }) {
      progress(`looking for ${customer}`);
      if (customer === 'nobody') throw new Error('there is no customer nobody; list them first');
      return { customer, fields };
    },
  });

describe('tools that a process of somebody’s own serves', () => {
  it('are called by runs under policy and budget, with progress, and fail with their own words [verifies workers.serve]', async () => {
    const nexus = await platform();
    await serve(nexus, [lookup()]);
    const client = clientOf(nexus);
    const listed = (await client.tools.list()).data.find(({ name }) => name === 'crm_lookup');
    expect(listed).toMatchObject({ source: 'worker:crm', tier: 'remote', effects: 'none', permissions: ['crm.read'] });
    await nexus.agent('clerk', { tools: ['crm_*'], policy: { allow: ['crm_lookup'] } });
    const runId = await nexus.complete({ agent: 'clerk', input: call('crm_lookup', 'customer="ada"') });
    const run = await nexus.until(runId, 'completed');
    expect(run.output).toBe('{"customer":"ada","fields":["name"]}');
    const events = await nexus.events(runId);
    expect(events.find(({ type }) => type === 'tool.started')).toMatchObject({
      data: { name: 'crm_lookup', decision: { effect: 'allow' } },
    });
    const failed = await nexus.complete({ agent: 'clerk', input: call('crm_lookup', 'customer="nobody"') });
    expect((await nexus.until(failed, 'completed')).output).toContain('there is no customer nobody; list them first');
    const wrong = await nexus.complete({ agent: 'clerk', input: call('crm_lookup', 'client="ada"') });
    expect((await nexus.until(wrong, 'completed')).output).toContain('tool_input_invalid');
    await nexus.agent('stranger', { tools: ['crm_*'], policy: { allow: ['fs_*'] } });
    const denied = await nexus.complete({ agent: 'stranger', input: call('crm_lookup', 'customer="ada"') });
    expect((await nexus.until(denied, 'completed')).output).toContain('policy_denied');
    expect((await client.toolWorkers.list()).data).toMatchObject([{ pool: 'crm', tools: ['crm_lookup'], maxConcurrent: 10 }]);
    expect((await client.toolWorkers.pools()).data).toMatchObject([{ name: 'crm', workers: 1, waitMs: 20_000 }]);
  });

  it('wait for a worker for a stated time, and then the model is told [verifies workers.wait]', async () => {
    const nexus = await platform();
    const worker = await serve(nexus, [lookup()], { waitMs: 1_500 });
    await worker.close();
    await nexus.agent('clerk');
    const told = await nexus.complete({ agent: 'clerk', input: call('crm_lookup', 'customer="ada"') });
    expect((await nexus.until(told, 'completed')).output).toContain('no worker of \\"crm\\" took the call within 1500 ms');
    const waiting = await nexus.start({ agent: 'clerk', input: call('crm_lookup', 'customer="bo"') });
    await serve(nexus, [lookup()], { waitMs: 1_500 });
    expect((await nexus.until(waiting, 'completed')).output).toBe('{"customer":"bo","fields":["name"]}');
  });

  it('take no more calls at a time than the worker says, and each call once [verifies workers.capacity]', async () => {
    const nexus = await platform();
    const held = heldTool('none');
    await serve(nexus, [held.tool], { maxConcurrent: 2 });
    await nexus.agent('clerk');
    const runs = await Promise.all(Array.from({ length: 5 }, () => nexus.start({ agent: 'clerk', input: call('held') })));
    await held.taken(2);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(held.calls).toHaveLength(2);
    for (let index = 0; index < 5; index++) (await held.taken(index + 1)).done(index);
    for (const runId of runs) await nexus.until(runId, 'completed');
    expect(held.calls).toHaveLength(5);
    expect(new Set(held.calls.map(({ callId }) => callId)).size).toBe(5);
  });

  it('are those of the worker that came last, and the others of its pool are shown to serve earlier ones [verifies workers.serve]', async () => {
    const nexus = await platform();
    await serve(nexus, [lookup()], { about: { host: 'old' } });
    const held = heldTool('none');
    await serve(nexus, [held.tool], { about: { host: 'new' } });
    const client = clientOf(nexus);
    const { data } = await client.toolWorkers.list();
    expect(data.map(({ about, current }) => [about.host, current]).sort()).toEqual([
      ['new', true],
      ['old', false],
    ]);
    const names = (await client.tools.list()).data.map(({ name }) => name);
    expect(names).toContain('held');
    expect(names).not.toContain('crm_lookup');
  });

  it('are told when nobody wants their call any more [verifies workers.cancel]', async () => {
    const nexus = await platform();
    const held = heldTool('none');
    await serve(nexus, [held.tool]);
    await nexus.agent('clerk');
    const runId = await nexus.start({ agent: 'clerk', input: call('held') });
    const { signal } = await held.taken(1);
    const stopped = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    await nexus.ask('POST', `/v1/runs/${runId}/cancel`, {});
    await nexus.until(runId, 'cancelled');
    await stopped;
  });
});

describe('a worker that is lost', () => {
  /** A worker that takes calls and is never heard of again. */
  async function deaf(nexus: TestPlatform, tool: DefinedTool): Promise<AbortController> {
    const gone = new AbortController();
    const response = await fetch(`${nexus.url}/v1/tool-pools/crm/stream`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' }, signal: gone.signal },
      body: JSON.stringify({ tools: [tool.declared], waitMs: 20_000 }),
    });
    expect(response.status).toBe(200);
    const reader = response.body?.getReader();
    await reader?.read();
    open.push(async () => gone.abort());
    return gone;
  }

  it('has its call given to another, under the same key, where its effects allow that [verifies workers.lost]', async () => {
    const nexus = await platform();
    const held = heldTool('idempotent');
    await deaf(nexus, held.tool);
    await nexus.agent('clerk');
    const runId = await nexus.start({ agent: 'clerk', input: call('held') });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await serve(nexus, [held.tool]);
    const again = await held.taken(1);
    again.done('done by another');
    expect((await nexus.until(runId, 'completed')).output).toBe('done by another');
    const started = (await nexus.events(runId)).find(({ type }) => type === 'tool.started');
    expect(started?.data).toMatchObject({ idempotencyKey: again.callId });
  });

  it('leaves what may take effect once to a person, and what came late is theirs to ask for [verifies workers.lost]', async () => {
    const nexus = await platform();
    const held = heldTool('once');
    const worker = serveTools(clientOf(nexus), [held.tool], { name: 'crm', waitMs: 20_000 });
    open.push(() => worker.close({ graceMs: 0 }));
    await worker.ready;
    await deaf(nexus, held.tool);
    await worker.close();
    await nexus.agent('clerk');
    const runId = await nexus.start({ agent: 'clerk', input: call('held') });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await serve(nexus, [held.tool]); // one that would do it
    const waiting = await nexus.until(runId, 'waiting');
    expect(waiting.waitingFor).toMatchObject({ reason: 'approval' });
    const { data } = await clientOf(nexus).approvals.list({ status: 'pending' });
    expect(data).toMatchObject([{ kind: 'unknown_outcome', toolName: 'held' }]);
    expect(held.calls).toHaveLength(0);
  });
});

describe('a database that is away for a moment', () => {
  const away = new NexusError('storage_unavailable', 'the database is away; try again');

  it.each(['before', 'after'] as const)(
    'has a call done once, also where it is lost %s the call is put there [verifies workers.queue]',
    async (when) => {
      const nexus = await platform();
      const held = heldTool('once');
      await nexus.agent('clerk');
      await serve(nexus, [held.tool]);
      const heal = nexus.faults.fail(
        'offerToolCall',
        when === 'before'
          ? away
          : async (put) => {
              await put();
              throw away;
            },
      );
      const runId = await nexus.start({ agent: 'clerk', input: call('held') });
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      heal();
      (await held.taken(1)).done('paid');
      expect((await nexus.until(runId, 'completed')).output).toBe('paid');
      expect(held.calls).toHaveLength(1);
    },
  );

  it('tells the worker to stop once it is back [verifies workers.cancel]', async () => {
    const nexus = await platform();
    const held = heldTool('once');
    await serve(nexus, [held.tool]);
    await nexus.agent('clerk');
    const runId = await nexus.start({ agent: 'clerk', input: call('held') });
    const { signal } = await held.taken(1);
    const heal = nexus.faults.fail('cancelToolCall', away);
    await nexus.ask('POST', `/v1/runs/${runId}/cancel`, {});
    await nexus.until(runId, 'cancelled');
    expect(signal.aborted).toBe(false);
    heal();
    await expect.poll(() => signal.aborted, { timeout: 5_000 }).toBe(true);
  });
});

describe('a server that ends', () => {
  /** A server that ends while a worker has the call of a run, and what comes after it on the same data. */
  async function away(effects: 'none' | 'idempotent' | 'once', leaseMs: number, retryMs = 20) {
    const dataDir = await mkdtemp(join(tmpdir(), 'nexus-workers-'));
    open.push(() => rm(dataDir, { recursive: true, force: true }));
    const tools = { workers: { leaseMs } };
    const first = await startTestPlatform({ dataDir, config: { tools } });
    const { port } = first;
    const held = heldTool(effects);
    const client = createNexusClient({ baseUrl: first.url, retry: { baseMs: retryMs, maxMs: 10 * retryMs } });
    const worker = serveTools(client, [held.tool], { name: 'crm', waitMs: 20_000 });
    open.push(() => worker.close({ graceMs: 0 }));
    await worker.ready;
    await first.agent('clerk');
    const runId = await first.start({ agent: 'clerk', input: call('held') });
    const taken = await held.taken(1);
    await first.close();
    const back = async () => {
      const second = await startTestPlatform({ dataDir, config: { port, tools } });
      open.push(() => second.close());
      return second;
    };
    return { held, worker, runId, taken, back, dataDir };
  }

  it.each(['none', 'idempotent', 'once'] as const)(
    'waits again for the call of a tool with effects %s, which is decided, paid and done once [verifies workers.restart]',
    async (effects) => {
      const { held, runId, taken, back } = await away(effects, 5_000);
      const second = await back();
      await new Promise((resolve) => setTimeout(resolve, 2_500)); // it reports what it holds, and hears what is not wanted
      expect(taken.signal.aborted).toBe(false);
      taken.done('while it was away');
      const run = await second.until(runId, 'completed');
      expect(run).toMatchObject({ output: 'while it was away', totals: { toolCalls: 1 } });
      const types = (await second.events(runId)).map(({ type }) => type);
      expect(types.filter((type) => type === 'tool.started')).toHaveLength(1);
      expect(types).not.toContain('approval.requested');
      expect(held.calls).toHaveLength(1);
    },
  );

  it.each(['idempotent', 'once'] as const)(
    'finds what a worker with effects %s answered to nobody, and gives it time to come back [verifies workers.restart]',
    async (effects) => {
      const { held, runId, taken, back } = await away(effects, 1_000, 2_000);
      taken.done('before it came back');
      await new Promise((resolve) => setTimeout(resolve, 1_500)); // longer than the lease, which nobody renews
      const second = await back(); // some seconds before the worker is
      expect((await second.until(runId, 'completed')).output).toBe('before it came back');
      expect(held.calls).toHaveLength(1);
    },
  );

  it('tells the worker to stop when the run is cancelled after it came back [verifies workers.cancel]', async () => {
    const { runId, taken, back } = await away('once', 5_000);
    const stopped = new Promise((resolve) => taken.signal.addEventListener('abort', resolve, { once: true }));
    const second = await back();
    await second.until(runId, 'running');
    await second.ask('POST', `/v1/runs/${runId}/cancel`, {});
    await second.until(runId, 'cancelled');
    await stopped;
  });

  it('asks a person about a call that was given up before it ended, and has it done by nobody [verifies workers.restart]', async () => {
    const { held, taken, runId, back, dataDir } = await away('once', 5_000);
    const store = await openTestStore({ dataDir });
    const error = { code: 'tool_outcome_unknown', message: 'the worker was lost', retryable: false };
    const lost = { callKey: taken.callId, delivery: 1 };
    expect(await store.endLostToolCall('default' as TenantId, lost, Number.MAX_SAFE_INTEGER, { type: 'void', error })).toBe(true);
    await store.close();
    const second = await back();
    expect((await second.until(runId, 'waiting')).waitingFor).toMatchObject({ reason: 'approval' });
    expect(held.calls).toHaveLength(1);
    // A person may have it begun again; a worker that is still at it is not.
    const client = clientOf(second);
    const [question] = (await client.approvals.list({ status: 'pending' })).data;
    await client.approvals.answer(question?.id ?? '', { decision: 'retry' });
    taken.done('paid');
    expect((await second.until(runId, 'completed')).output).toBe('paid');
    expect(held.calls).toHaveLength(1);
  });

  it('asks a person about a call of which nothing is kept any more, and has it done by nobody [verifies workers.restart]', async () => {
    const { held, worker, runId, back, dataDir } = await away('once', 5_000);
    await worker.close({ graceMs: 0 });
    const store = await openTestStore({ dataDir });
    await store.pruneToolCalls(Number.MAX_SAFE_INTEGER, 100);
    await store.close();
    const second = await back();
    await serve(second, [held.tool]);
    expect((await second.until(runId, 'waiting')).waitingFor).toMatchObject({ reason: 'approval' });
    const { data } = await clientOf(second).approvals.list({ status: 'pending' });
    expect(data).toMatchObject([{ kind: 'unknown_outcome', toolName: 'held' }]);
    expect(held.calls).toHaveLength(1);
  });
});

it('tells its own program once when no server answers, and ends quietly [verifies workers.serve]', async () => {
  const heard: unknown[] = [];
  const nobody = clientOf({ url: 'http://127.0.0.1:9' });
  const worker = serveTools(nobody, [lookup()], { name: 'crm', onError: (error) => heard.push(error) });
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(heard.map(String)).toEqual([expect.stringContaining('no answer from http://127.0.0.1:9')]);
  await worker.close();
  await expect(worker.ready).rejects.toThrow('the worker was closed');
});

it('tells its own program each time that it loses the server [verifies workers.serve]', async () => {
  const heard: unknown[] = [];
  const first = await platform();
  await serve(first, [lookup()], { onError: (error) => heard.push(error) });
  await first.close();
  await expect.poll(() => heard.length, { timeout: 5_000 }).toBe(1);
  const second = await startTestPlatform({ config: { port: first.port } });
  open.push(() => second.close());
  await expect.poll(async () => (await clientOf(second).toolWorkers.list()).data.length, { timeout: 10_000 }).toBe(1);
  await second.close();
  await expect.poll(() => heard.length, { timeout: 5_000 }).toBe(2);
});

describe('a worker that is up to something', () => {
  const hello = (tool: object) => ({
    waitMs: 1_000,
    tools: [{ name: 'evil', description: 'x', inputSchema: { type: 'object' }, effects: 'none', ...tool }],
  });
  const connect = (nexus: TestPlatform, body: unknown, key?: string) =>
    fetch(`${nexus.url}/v1/tool-pools/evil/stream`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
      body: JSON.stringify(body),
    });

  it.each<[string, object, number, RegExp]>([
    ['the name of a built-in tool', { name: 'fs_read' }, 409, /fs_read is taken by a tool of built-in; take another, such as evil_fs_read/],
    ['a name that no model can use', { name: '查询' }, 400, /expected 1 to 64 of the characters/],
    ['a name of agents', { name: 'agent_x' }, 400, /names with agent_ call agents/],
    ['a name that patterns for files mean', { name: 'fs_grep' }, 400, /fs_grep: names with fs_ are kept for tools of the server itself/],
    ['a name that artifacts may have one day', { name: 'Artifact.zap' }, 400, /names with Artifact_ are kept/],
    ['a schema that is none', { inputSchema: { type: 'nonsense' } }, 400, /is no JSON Schema/],
    [
      'a schema that catches every argument in a cycle',
      { inputSchema: { type: 'object', $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/a' } } } },
      400,
      /./,
    ],
    ['the files of sessions', { permissions: ['fs.write'] }, 400, /a worker has neither the files of a session nor its sandbox/],
    ['a time that never ends', { timeoutMs: 1e12 }, 400, /timeoutMs/],
  ])('is refused %s [verifies workers.refused]', async (_what, tool, status, message) => {
    const nexus = await platform();
    const response = await connect(nexus, hello(tool));
    expect(response.status).toBe(status);
    expect(await response.text()).toMatch(message);
  });

  it('answers only for what it holds, once, and not for another tenant [verifies workers.refused]', async () => {
    const nexus = await platform();
    const held = heldTool('none');
    const worker = await serve(nexus, [held.tool]);
    const workerId = await worker.ready;
    await nexus.agent('clerk');
    const runId = await nexus.start({ agent: 'clerk', input: call('held') });
    const { callId, done } = await held.taken(1);
    const report = async (by: string, delivery: number, key?: string) => {
      const response = await fetch(`${nexus.url}/v1/tool-pools/crm/reports`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
        body: JSON.stringify({ workerId: by, reports: [{ type: 'completed', callId, delivery, output: 'forged' }] }),
      });
      return ((await response.json()) as { calls?: { state: string }[] }).calls?.map(({ state }) => state) ?? response.status;
    };
    expect(await report('wrk_01h455vb4pex5vsknk084sn02q', 1)).toEqual(['lost']);
    expect(await report(workerId, 2)).toEqual(['lost']);
    expect(await report(workerId, 1, await nexus.key(['tools'], 'other'))).toEqual(['lost']);
    expect(await report(workerId, 1, await nexus.key(['runs']))).toBe(403);
    done('honest');
    expect((await nexus.until(runId, 'completed')).output).toBe('honest');
    expect(await report(workerId, 1)).toEqual(['lost']);
  });

  it('gives too much, or what is no JSON, and the model is told so [verifies workers.refused]', async () => {
    const nexus = await platform();
    const outputs: Record<string, () => unknown> = {
      huge: () => 'x'.repeat(6_000_000),
      bigint: () => 1n,
      nothing: () => undefined,
      cycle: () => {
        const self: { self?: unknown } = {};
        self.self = self;
        return self;
      },
    };
    await serve(nexus, [
      defineTool({
        ...{ name: 'odd', description: 'x', effects: 'none', input: z.object({ what: z.string() }) },
        execute: ({ what }: { what: string }) => outputs[what]?.(),
      }),
    ]);
    await nexus.agent('clerk');
    const said = async (what: string) =>
      (await nexus.until(await nexus.complete({ agent: 'clerk', input: call('odd', `what="${what}"`) }), 'completed')).output;
    expect(await said('huge')).toContain('its output was not taken');
    expect(await said('bigint')).toMatch(/tool_failed.*BigInt/);
    expect(await said('cycle')).toMatch(/tool_failed.*circular/);
    expect(await said('nothing')).toBe('null');
  });
});
