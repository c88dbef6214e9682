import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import { systemTimers } from '#core';
import type { Tool, ToolPart, ToolService } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';
import { loadDefinition } from './definition.ts';
import { callToWire } from './messages.ts';
import { callTools, serveTools, testToken } from './testing/index.ts';

const { service: methods } = loadDefinition();
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** An agent core, and a client that knows only the messages. */
async function open(service: ToolService, settings: Parameters<typeof serveTools>[1] = {}) {
  const server = await serveTools(service, settings);
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  closers.push(
    () => service.close(),
    () => server.close(0),
    () => client.close(),
  );
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${testToken}`);
  return {
    server,
    execute(request: object, { reads = true, ...options }: { readonly deadline?: number; readonly reads?: boolean } = {}) {
      const { path, requestSerialize, responseDeserialize } = methods.Execute;
      const stream = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata, options);
      const parts: unknown[] = [];
      if (reads) stream.on('data', (part) => parts.push(part));
      else stream.on('readable', () => undefined); // it asks for a first part: until then this client takes all there is
      const ended = new Promise<ServiceError | null>((resolve) => {
        stream.on('error', resolve);
        stream.on('end', () => resolve(null));
      });
      return { stream, ended, parts };
    },
    cancel(request: object) {
      const { path, requestSerialize, responseDeserialize } = methods.Cancel;
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error, response) =>
          error === null ? resolve(response) : reject(error),
        );
      });
    },
  };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 10) {
    if (waited > 8_000) throw new Error(`in vain: ${what}`);
    await systemTimers.sleep(10);
  }
}

function working() {
  const seen = { calls: 0, stopped: 0 };
  const execute: Tool['execute'] = async (_input, { signal }) => {
    seen.calls += 1;
    await systemTimers.sleep(60_000, signal).catch(() => undefined);
    seen.stopped += 1;
    throw new Error('stopped');
  };
  return { seen, service: createTestToolService([makeTool({ execute })], { graceMs: 100 }) };
}

const request = callToWire(makeToolCall());
const about = { tenantId: 'ten_1', callId: 'call_1', attempt: 1 };

it('stops the tool when its caller leaves the stream, at the deadline, and when it is told to cancel [verifies tools.wire.cancel]', async () => {
  const { seen, service } = working();
  const { execute, cancel, server } = await open(service);
  const left = execute(request);
  await until('a first call', () => seen.calls === 1);
  left.stream.cancel();
  await until('the first to stop', () => seen.stopped === 1);
  expect(await left.ended).toMatchObject({ code: status.CANCELLED });

  const late = execute(request, { deadline: Date.now() + 700 });
  expect(await late.ended).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  await until('the second to stop', () => seen.stopped === seen.calls);

  const cancelled = execute(request);
  await until('a third call', () => server.running() === 1);
  expect(await cancel({ ...about, tenantId: 'ten_2' })).toMatchObject({ found: false });
  expect(await cancel({ ...about, attempt: 2 })).toMatchObject({ found: false });
  expect(await cancel(about)).toMatchObject({ found: true });
  expect(await cancelled.ended).toBeNull();
  expect(cancelled.parts).toMatchObject([{ part: 'failed', failed: { error: { code: 'cancelled' }, began: true } }]);
  await until('nothing to run', () => server.running() === 0);
  expect(await cancel(about)).toMatchObject({ found: false });
});

/** A service whose calls talk as long as somebody listens, and more than anybody holds. */
function talking() {
  const seen = { parts: 0, left: 0 };
  const service: ToolService = {
    ...createTestToolService([]),
    async *execute(_call, { signal }): AsyncGenerator<ToolPart> {
      try {
        while (!signal.aborted && seen.parts < 5_000) {
          seen.parts += 1;
          yield { type: 'output', text: 'x'.repeat(10_000) };
        }
        yield { type: 'failed', error: { code: 'cancelled', message: 'stopped' }, began: true, durationMs: 1 };
      } finally {
        seen.left += 1;
      }
    },
  };
  return { seen, service };
}

it('holds back a call whose reader is slow, whole as it is, and others not [verifies tools.wire.pressure]', async () => {
  const { seen, service } = talking();
  const { execute, server } = await open(service);
  const slow = execute(request, { reads: false });
  let read = 0;
  await until('it to be held back', () => seen.parts > 3);
  for (let round = 0; round < 3; round++) {
    let before = -1;
    while (before !== seen.parts) {
      before = seen.parts;
      await systemTimers.sleep(100);
    }
    expect(seen.parts - read).toBeLessThan(60); // what the windows and buffers of both sides hold
    for (let message = slow.stream.read(); message !== null; message = slow.stream.read()) read += 1;
    await systemTimers.sleep(10);
  }
  expect(read).toBeGreaterThan(5);
  const other = callTools(server.port);
  closers.push(() => other.close());
  expect(await other.list('ten_1')).toEqual([]);
  slow.stream.cancel();
  await until('it to end', () => seen.left === 1);
});

it('cuts off a caller that reads nothing, and cancels its call [verifies tools.wire.pressure]', async () => {
  const { seen, service } = talking();
  const { execute, server } = await open(service, { unreadMs: 200 });
  const { ended } = execute(request, { reads: false });
  await until('the call to be cancelled', () => seen.left === 1);
  expect(await ended).toMatchObject({ code: status.UNAVAILABLE });
  await until('nothing to run', () => server.running() === 0);
  expect(server.troubles).toEqual(['a client takes nothing of what its calls say, and is disconnected']);
  const other = callTools(server.port);
  closers.push(() => other.close());
  expect(await other.list('ten_1')).toEqual([]);
});

it('says what is wrong with a request that is none, by the status of the table', async () => {
  const { execute } = await open(createTestToolService([makeTool()]));
  for (const [change, message] of [
    [{ tenantId: '../a' }, /tenantId/],
    [{ inputJson: '{' }, /inputJson: expected JSON/],
    [{ inputJson: '['.repeat(100_000) }, /inputJson: expected JSON/],
    [{ timeoutMs: -1 }, /timeoutMs/],
    [{ timeoutMs: Number.POSITIVE_INFINITY }, /timeoutMs/],
  ] as const) {
    const { ended } = execute({ ...request, ...change });
    expect(await ended).toMatchObject({ code: status.INVALID_ARGUMENT, details: expect.stringMatching(message) });
  }
  const { ended } = execute({ ...request, inputJson: JSON.stringify('x'.repeat(2_000_000)) });
  expect(await ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
});

it('refuses a port that another program has', async () => {
  const { server } = await open(createTestToolService([]));
  await expect(serveTools(createTestToolService([]), { port: server.port })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/grpc\.port\): another program uses it/),
  });
});

it('ends cleanly with a call that was already answered, twice', async () => {
  const { server } = await open(createTestToolService([makeTool()]));
  const remote = callTools(server.port);
  expect(await readCall(remote, makeToolCall())).toMatchObject({ type: 'completed' });
  await remote.close();
  await Promise.all([server.close(0), server.close(0)]);
});
