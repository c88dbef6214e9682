import { expect, it } from 'vitest';
import { NexusError } from '#core';
import type { ToolContext } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';

/** A tool whose calls go on elsewhere until they are told to stop. */
function makeGoing() {
  const calls: Pick<ToolContext, 'signal' | 'callId'>[] = [];
  const tool = makeTool({
    rejoinable: true,
    inputSchema: { type: 'object', required: ['amount'] },
    execute: (_input, context) => {
      calls.push(context);
      const stopped = { type: 'error', error: { code: 'tool_failed', message: 'stopped', retryable: false } } as const;
      if (context.signal.aborted) return Promise.resolve(stopped);
      return new Promise((resolve) => context.signal.addEventListener('abort', () => resolve(stopped)));
    },
  });
  return { tool, calls };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

it('waits for no turn and no schema to come back to a call that is going on [verifies workers.restart]', async () => {
  const { tool, calls } = makeGoing();
  const service = createTestToolService([tool], { limits: { probe: { concurrency: 1, queueMs: 5 } } });
  const controller = new AbortController();
  const first = readCall(service, makeToolCall({ callId: 'a', input: { amount: 1 } }), { signal: controller.signal });
  await settle();
  expect(await readCall(service, makeToolCall({ callId: 'b', input: { amount: 1 } }))).toMatchObject({ error: { code: 'rate_limited' } });
  const back = readCall(service, makeToolCall({ callId: 'c', input: {}, rejoins: true }), { signal: controller.signal });
  await settle();
  expect(calls.map(({ callId }) => callId)).toEqual(['a', 'c']);
  controller.abort();
  await Promise.all([first, back]);
});

it('has a call stopped that goes on elsewhere, also where it is told so before it is back there [verifies workers.cancel]', async () => {
  const cancelled = new NexusError('cancelled', 'a person cancelled the run');
  for (const [rejoins, reason, when, heard] of [
    [true, cancelled, 'before', 1],
    [true, cancelled, 'at once', 1],
    [undefined, cancelled, 'before', 0],
    [true, new NexusError('lease_lost', 'another has the run'), 'before', 0],
    [true, new NexusError('lease_lost', 'another has the run'), 'at once', 0],
  ] as const) {
    const { tool, calls } = makeGoing();
    const service = createTestToolService([tool]); // whose tools are not loaded yet
    const controller = new AbortController();
    if (when === 'before') controller.abort(reason);
    const end = readCall(service, makeToolCall({ input: { amount: 1 }, ...(rejoins && { rejoins }) }), { signal: controller.signal });
    controller.abort(reason);
    expect(await end).toMatchObject({ type: 'failed' });
    expect(calls.filter(({ signal }) => signal.aborted)).toHaveLength(heard);
  }
});
