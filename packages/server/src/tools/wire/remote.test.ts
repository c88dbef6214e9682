import { afterEach, expect, it } from 'vitest';
import { NexusError, systemTimers } from '#core';
import type { Tool, ToolPart, ToolService } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';
import { callTools, clientTls, serverTls, serveTools, startRelay, strangerTls, testToken } from './testing/index.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

type ServerSettings = Parameters<typeof serveTools>[1];
type ClientSettings = Parameters<typeof callTools>[1];

async function open(
  tools: readonly Tool[] | ToolService,
  settings: { readonly server?: ServerSettings; readonly client?: ClientSettings } = {},
) {
  const service = Array.isArray(tools) ? createTestToolService(tools, { graceMs: 100 }) : (tools as ToolService); // it is no list
  const server = await serveTools(service, settings.server);
  const relay = await startRelay(server.port);
  const remote = callTools(relay.port, settings.client);
  closers.push(
    () => service.close(),
    () => server.close(0),
    () => relay.close(),
    () => remote.close(),
  );
  return { service, server, relay, remote };
}

/** Says when it was called, and works until it is told to stop. */
function working(definition: Partial<Tool> = {}) {
  const seen = { calls: 0, stopped: 0 };
  const tool = makeTool({
    ...definition,
    async execute(_input, { signal, onOutput }) {
      seen.calls += 1;
      onOutput('working');
      await systemTimers.sleep(60_000, signal).catch(() => undefined);
      seen.stopped += 1;
      signal.throwIfAborted();
      return { type: 'ok', output: 'done' };
    },
  });
  return { tool, seen };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 10) {
    if (waited > 8_000) throw new Error(`in vain: ${what}`);
    await systemTimers.sleep(10);
  }
}

it('lets nobody in without the token, and begins nothing for them [verifies tools.wire.access]', async () => {
  let ran = false;
  const tool = makeTool({
    effects: 'once',
    execute: async () => {
      ran = true;
      return { type: 'ok', output: '' };
    },
  });
  for (const token of [undefined, 'another', `${testToken}x`, testToken.toUpperCase()]) {
    const { remote } = await open([tool], { client: { token } });
    await expect(remote.list('ten_1')).rejects.toMatchObject({
      code: 'unavailable',
      retryable: false,
      message: expect.stringContaining('tools.remote'),
    });
    expect(await readCall(remote, makeToolCall())).toMatchObject({ type: 'failed', began: false, error: { code: 'unavailable' } });
    await expect(remote.authorize({ callId: 'call_1', attempt: 1, authorizationId: 'a', allowed: true })).rejects.toMatchObject({
      code: 'unavailable',
    });
  }
  expect(ran).toBe(false);
});

it('lets nobody in without a certificate of its authority [verifies tools.wire.access]', async () => {
  const server = { tls: serverTls, token: undefined };
  const { ca, serverName } = clientTls;
  for (const tls of [undefined, { ...(ca && { ca }), ...(serverName && { serverName }) }, strangerTls]) {
    const { remote } = await open([makeTool()], { server, client: { tls, token: undefined, connectTimeoutMs: 300 } });
    expect(await readCall(remote, makeToolCall())).toMatchObject({ type: 'failed', began: false, error: { code: 'unavailable' } });
    await expect(remote.list('ten_1')).rejects.toMatchObject({ cause: { message: expect.stringContaining('grpc.tls.clientCa') } });
  }
  const { remote } = await open([makeTool()], { server, client: { tls: clientTls, token: undefined } });
  expect(await readCall(remote, makeToolCall())).toMatchObject({ type: 'completed' });
});

it('ends a call whose connection is lost by the effects of its tool, and connects again [verifies tools.wire.lost]', async () => {
  for (const [effects, error] of [
    ['none', { code: 'unavailable', retryable: true }],
    ['idempotent', { code: 'unavailable', retryable: true }],
    ['once', { code: 'tool_outcome_unknown', details: { cause: 'unavailable' } }],
  ] as const) {
    const { tool, seen } = working({ effects });
    const { remote, relay } = await open([tool, makeTool({ name: 'other' })]);
    await remote.list('ten_1');
    const ended = readCall(remote, makeToolCall(), { onPart: () => relay.cut() });
    expect(await ended).toMatchObject({ type: 'failed', began: true, error });
    await until('the tool to hear that nobody waits', () => seen.stopped === 1);
    relay.mend();
    expect(await readCall(remote, makeToolCall({ toolName: 'other' }))).toMatchObject({ type: 'completed' });
    expect(seen.calls).toBe(1);
  }
});

it('leaves a call that another process goes on with, and stops one that was cancelled [verifies tools.wire.cancel workers.restart]', async () => {
  for (const code of ['lease_lost', 'cancelled'] as const) {
    const told: unknown[] = [];
    const tool = makeTool({
      execute: (_input, { signal, onOutput }) =>
        new Promise((resolve) => {
          onOutput('working');
          signal.addEventListener('abort', () => {
            told.push(signal.reason.code);
            resolve({ type: 'ok', output: 'stopped' });
          });
        }),
    });
    const { remote } = await open([tool]);
    const controller = new AbortController();
    const abort = () => controller.abort(new NexusError(code, 'for a test'));
    const end = await readCall(remote, makeToolCall(), { signal: controller.signal, onPart: ({ type }) => type === 'output' && abort() });
    await until('the tool to hear of it', () => told.length === 1);
    expect([told, end.type]).toEqual([[code], code === 'cancelled' ? 'completed' : 'failed']);
  }
});

it('says why nobody can be reached, and once that the token is wrong [verifies tools.wire.list]', async () => {
  const nobody = callTools(1, { connectTimeoutMs: 300 });
  await expect(nobody.list('ten_1')).rejects.toMatchObject({ cause: { message: expect.stringContaining('ECONNREFUSED') } });
  await nobody.close();
  const stranger = { tls: { ...clientTls, ca: strangerTls.cert as Buffer }, token: undefined, connectTimeoutMs: 300 };
  const { remote } = await open([makeTool()], { server: { tls: serverTls, token: undefined }, client: stranger });
  await expect(remote.list('ten_1')).rejects.toMatchObject({ cause: { message: expect.stringContaining('certificate') } });
  const wrong = await open([makeTool()], { client: { token: 'another' } });
  for (const tenant of ['ten_1', 'ten_2']) await expect(wrong.remote.list(tenant)).rejects.toMatchObject({ code: 'unavailable' });
  expect(wrong.remote.troubles).toEqual([expect.stringContaining('takes nothing from here')]);
});

it('takes a tool that nobody listed for one that may not be repeated [verifies tools.wire.lost]', async () => {
  const { tool } = working({ effects: 'none' });
  const { remote, relay } = await open([tool]);
  expect(await readCall(remote, makeToolCall(), { onPart: () => relay.cut() })).toMatchObject({ error: { code: 'tool_outcome_unknown' } });
});

it('knows that a call did not begin where nobody was reached [verifies tools.wire.lost]', async () => {
  const { remote, relay } = await open([makeTool({ effects: 'once' })], { client: { connectTimeoutMs: 100 } });
  relay.cut();
  expect(await readCall(remote, makeToolCall())).toMatchObject({
    type: 'failed',
    began: false,
    error: { code: 'unavailable', retryable: true },
  });
  const controller = new AbortController();
  const waiting = readCall(callTools(relay.port, { connectTimeoutMs: 60_000 }), makeToolCall(), { signal: controller.signal });
  await systemTimers.sleep(20);
  controller.abort();
  expect(await waiting).toMatchObject({ type: 'failed', began: false, error: { code: 'cancelled' } });
});

it('gives the tools that it knows while the agent core is away, and says that it is away where it knows none [verifies tools.wire.list]', async () => {
  const { remote, relay } = await open([makeTool()], { client: { connectTimeoutMs: 1_500 } });
  const known = await remote.list('ten_1');
  expect(known).toHaveLength(1);
  relay.cut();
  await systemTimers.sleep(1_050); // a list is taken as it is for a second
  expect(await remote.list('ten_1')).toBe(known);
  await until('it to be told', () => remote.troubles.length > 0);
  expect(remote.troubles).toEqual([
    'the agent core cannot be reached: until it is there its tools are those that it listed last, and calls of them fail without having begun',
  ]);
  await expect(remote.list('ten_2')).rejects.toMatchObject({ code: 'unavailable', retryable: true });
  relay.mend();
  await until('the list to be had again', () => true);
  expect(await remote.list('ten_1')).toBe(known);
});

it('does not wait for an agent core that stands still with a list that it knows [verifies tools.wire.list]', async () => {
  const { remote, relay } = await open([makeTool()]);
  const known = await remote.list('ten_1');
  relay.freeze();
  await systemTimers.sleep(1_050);
  const askedAt = performance.now();
  expect(await remote.list('ten_1')).toBe(known);
  expect(performance.now() - askedAt).toBeLessThan(3_000); // of the 10 s that an answer may take
});

it('refuses calls beyond its limit before they begin, and takes them again [verifies tools.wire.shedding]', async () => {
  const { tool } = working({ effects: 'once' });
  const { remote, server } = await open([tool, makeTool({ name: 'quick' })], { server: { maxCalls: 2 } });
  const controller = new AbortController();
  const running = ['a', 'b'].map((callId) => readCall(remote, makeToolCall({ callId }), { signal: controller.signal }));
  await until('both to run', () => server.running() === 2);
  expect(await readCall(remote, makeToolCall({ callId: 'c' }))).toMatchObject({
    type: 'failed',
    began: false,
    error: { code: 'rate_limited', retryable: true, details: { what: 'calls', limit: 2, running: 2 } },
  });
  expect(await remote.list('ten_1')).toHaveLength(2);
  controller.abort();
  await Promise.all(running);
  expect(await readCall(remote, makeToolCall({ toolName: 'quick' }))).toMatchObject({ type: 'completed' });
});

it('keeps messages within their size: arguments, and what a call gives', async () => {
  const tool = makeTool({ effects: 'once', execute: async () => ({ type: 'ok', output: 'x'.repeat(40_000) }) });
  const { remote } = await open([tool], { server: { maxMessageBytes: 20_000 }, client: { maxMessageBytes: 20_000 } });
  const input = { text: 'x'.repeat(30_000) };
  expect(await readCall(remote, makeToolCall({ input }))).toMatchObject({
    began: false,
    error: { code: 'payload_too_large', details: { limit: 20_000 } },
  });
  expect(await readCall(remote, makeToolCall({ input: { a: 1n } }))).toMatchObject({ began: false, error: { code: 'tool_input_invalid' } });
  expect(await readCall(remote, makeToolCall())).toMatchObject({
    began: true,
    error: { code: 'limit_exceeded', details: { limit: 'output' } },
  });
});

it('drains: no call begins, those that run are answered and end, and health says so [verifies tools.wire.drain]', async () => {
  let asked = false;
  const tool = makeTool({
    async execute(_input, { authorize }) {
      asked = true;
      const verdict = await authorize({ action: 'net.egress', resource: 'example.com' });
      return { type: 'ok', output: verdict.allowed };
    },
  });
  const { remote, server } = await open([tool, makeTool({ name: 'other' })]);
  let closing: Promise<void> | undefined;
  const refused: unknown[] = [];
  const authorize = async () => {
    closing = server.close(15_000);
    refused.push(await readCall(remote, makeToolCall({ callId: 'late', toolName: 'other' })));
    return { allowed: true } as const;
  };
  expect(await readCall(remote, makeToolCall({ timeoutMs: 18_000 }), { authorize })).toMatchObject({ type: 'completed', output: 'true' });
  expect(asked).toBe(true);
  expect(refused).toMatchObject([{ began: false, error: { code: 'unavailable', retryable: true } }]);
  await closing;
});

it('cancels what has not ended when the time to drain is over, and tells how it ended [verifies tools.wire.drain]', async () => {
  const { tool, seen } = working({ effects: 'once' });
  const { remote, server } = await open([tool]);
  const running = readCall(remote, makeToolCall());
  await until('the call to run', () => seen.calls === 1);
  await server.close(50);
  expect(await running).toMatchObject({ began: true, error: { code: 'tool_outcome_unknown', details: { cause: 'cancelled' } } });
  expect(seen.stopped).toBe(1);
});

/** A service that says these parts of every call, whatever they are. */
function saying(parts: readonly unknown[], list: readonly Tool[] = []): ToolService {
  const silent = createTestToolService(list);
  return {
    ...silent,
    async *execute() {
      for (const part of parts) yield part as ToolPart; // it may lie
    },
  };
}

it('does not believe an agent core that says what cannot be', async () => {
  const completed = { type: 'completed', output: '', costMicroUsd: 0, durationMs: 1 };
  const files = { treeId: 'ses_1', version: 1, changes: [] };
  for (const lie of [
    [{ ...completed, files: { ...files, treeId: 'ses_2' } }],
    [{ ...completed, files: { ...files, changes: [{ path: 'a', content: { sha256: 'no', bytes: 1, executable: false } }] } }],
    [{ ...completed, costMicroUsd: -5 }],
    [{ ...completed, durationMs: Number.NaN }],
    [{ type: 'output', text: 'and then nothing' }],
    [],
  ]) {
    const { remote } = await open(saying(lie));
    expect(await readCall(remote, makeToolCall())).toMatchObject({ type: 'failed', began: true, error: { code: 'tool_outcome_unknown' } });
  }
  const { remote } = await open(
    saying([
      { ...completed, files },
      { type: 'output', text: 'more' },
    ]),
  );
  expect(await readCall(remote, makeToolCall())).toEqual({ ...completed, files });
});
