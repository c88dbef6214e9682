import { expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualTime } from '#core/testing';
import type { Tool, ToolCallEnd } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';
import { limitsFor } from './limits.ts';

/** A tool that ends when it is told to. */
function makeHeld(change: Partial<Tool> = {}) {
  const open: ((how?: unknown) => void)[] = [];
  const execute: Tool['execute'] = (_input, { signal }) =>
    new Promise((resolve, reject) => {
      open.push((error) => (error === undefined ? resolve({ type: 'ok', output: 'done' }) : reject(error)));
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  return { tool: makeTool({ execute, ...change }), open };
}

const errorOf = (end: ToolCallEnd) => (end.type === 'failed' ? { code: end.error.code, began: end.began } : { type: end.type });
const unreachable = () => new NexusError('tool_failed', 'nobody is there', { details: { reason: 'connection' } });

it('takes each limit from the pattern that says most about a name [verifies tools.limits.settings]', () => {
  const settings = {
    'http_*': { concurrency: 7, breaker: { failures: 2 } },
    '*': { concurrency: 3, queueMs: 9 },
    http_one: { timeoutMs: 5, breaker: false as const },
  };
  expect(limitsFor('http_two', settings)).toMatchObject({
    concurrency: 7,
    queueMs: 9,
    timeoutMs: null,
    breaker: { failures: 2, openMs: 30_000 },
  });
  expect(limitsFor('http_one', settings)).toMatchObject({ concurrency: 7, queueMs: 9, timeoutMs: 5, breaker: null });
  expect(limitsFor('other', settings)).toMatchObject({ concurrency: 3, breaker: { failures: 5 } });
});

it('runs no more calls of a tool than its limit, and lets tenants in by turns [verifies tools.limits.concurrency]', async () => {
  const { tool, open } = makeHeld();
  const order: string[] = [];
  const service = createTestToolService([tool], { limits: { probe: { concurrency: 2 } } });
  const call = (tenantId: string, callId: string) =>
    readCall(service, makeToolCall({ tenantId, sessionId: tenantId, runId: callId, callId })).then((end) => {
      order.push(callId);
      return end;
    });
  const calls = [call('ten_a', 'a1'), call('ten_a', 'a2'), call('ten_a', 'a3'), call('ten_a', 'a4'), call('ten_b', 'b1')];
  const settle = () => new Promise((resolve) => setTimeout(resolve, 5));
  await settle();
  expect(open).toHaveLength(2);
  for (let ended = 0; ended < 5; ended += 1) {
    open[ended]?.();
    await settle();
    expect(open.length - ended - 1).toBeLessThanOrEqual(2);
  }
  expect((await Promise.all(calls)).every(({ type }) => type === 'completed')).toBe(true);
  expect(order.indexOf('b1')).toBeLessThan(order.indexOf('a4'));
});

it('says of a call that got no turn in time, or was cancelled before, that it has not begun [verifies tools.limits.concurrency]', async () => {
  const time = createManualTime();
  const { tool, open } = makeHeld({ effects: 'once', maxCostMicroUsd: 5 });
  const service = createTestToolService([tool], { ...time, limits: { probe: { concurrency: 1, queueMs: 500, maxQueued: 6 } } });
  const running = readCall(service, makeToolCall({ callId: 'call_0' }));
  const waits = readCall(service, makeToolCall());
  const hasLittleTime = readCall(service, makeToolCall({ callId: 'call_2', timeoutMs: 100 }));
  const controller = new AbortController();
  const cancelled = readCall(service, makeToolCall({ callId: 'call_3' }), { signal: controller.signal });
  await time.advance(1);
  expect(await readCall(service, makeToolCall({ callId: 'call_4' })).then(errorOf)).toEqual({ code: 'rate_limited', began: false });
  controller.abort();
  expect(errorOf(await cancelled)).toEqual({ code: 'cancelled', began: false });
  await time.advance(100);
  expect(errorOf(await hasLittleTime)).toEqual({ code: 'rate_limited', began: false });
  await time.advance(400);
  const late = await waits;
  expect(errorOf(late)).toEqual({ code: 'rate_limited', began: false });
  expect(late).toMatchObject({ error: { retryable: true, details: { what: 'calls of probe', running: 1 } } });
  open[0]?.();
  expect(await running).toMatchObject({ type: 'completed' });
  expect([open.length, time.pending]).toEqual([1, 0]);
});

it('ends a call by the time of its settings where the tool would take longer [verifies tools.limits.timeout]', async () => {
  const time = createManualTime();
  const { tool } = makeHeld();
  const service = createTestToolService([tool], { ...time, limits: { 'pro*': { timeoutMs: 50 } } });
  const reading = readCall(service, makeToolCall());
  await time.advance(50);
  expect(await reading).toMatchObject({ error: { code: 'tool_timeout', message: expect.stringContaining('50 ms') }, durationMs: 50 });
});

it('leaves a tool alone that fails, says until when, and tries it with one call [verifies tools.limits.breaker]', async () => {
  const time = createManualTime();
  let answer: () => Promise<{ type: 'ok'; output: string }> = () => Promise.reject(unreachable());
  let called = 0;
  const execute: Tool['execute'] = () => {
    called += 1;
    return answer();
  };
  const service = createTestToolService([makeTool({ execute, source: 'http:shop' })], {
    ...time,
    limits: { '*': { breaker: { failures: 3, openMs: 1_000 } } },
  });
  const call = (tenantId = 'ten_1') => readCall(service, makeToolCall({ tenantId }));
  for (let index = 0; index < 3; index += 1) expect(errorOf(await call())).toEqual({ code: 'tool_failed', began: true });
  await time.advance(400);
  const refused = await call();
  expect(errorOf(refused)).toEqual({ code: 'tool_unavailable', began: false });
  expect(refused).toMatchObject({ error: { retryable: true, details: { retryAfterMs: 600, failures: 3 } } });
  expect(errorOf(await call('ten_2'))).toEqual({ code: 'tool_failed', began: true });
  expect(called).toBe(4);
  await time.advance(600);
  answer = async () => ({ type: 'ok', output: '' });
  expect(await call()).toMatchObject({ type: 'completed' });
  expect(await call()).toMatchObject({ type: 'completed' });
});

it('counts against a tool what is its own fault, and nothing else [verifies tools.limits.blame]', async () => {
  const time = createManualTime();
  const own: Record<string, () => unknown> = {
    crashed: () => new TypeError('oh'),
    unreachable,
    'bad gateway': () => new NexusError('tool_failed', 'it says 502', { details: { reason: 'status', status: 502 } }),
    unknown: () => new NexusError('tool_outcome_unknown', 'lost', { details: { cause: 'unavailable' } }),
  };
  const others: Record<string, () => unknown> = {
    input: () => new NexusError('tool_input_invalid', 'no'),
    denied: () => new NexusError('policy_denied', 'no'),
    busy: () => new NexusError('rate_limited', 'later'),
    'not found': () => new NexusError('tool_failed', 'it says 404', { details: { reason: 'status', status: 404 } }),
    code: () => new NexusError('sandbox_code_error', 'threw'),
  };
  const lastOf = async (error: () => unknown, source = 'http:shop') => {
    const tool = makeTool({ source, execute: () => Promise.reject(error()) });
    const service = createTestToolService([tool], { ...time, limits: { probe: { breaker: { failures: 2 } } } });
    for (let index = 0; index < 4; index += 1) await readCall(service, makeToolCall());
    const end = await readCall(service, makeToolCall());
    return end.type === 'failed' ? end.error.code : end.type;
  };
  for (const [name, error] of Object.entries(own)) expect([name, await lastOf(error)]).toEqual([name, 'tool_unavailable']);
  for (const [name, error] of Object.entries(others)) expect([name, await lastOf(error)]).not.toEqual([name, 'tool_unavailable']);
  expect(await lastOf(unreachable, 'built-in')).toBe('tool_failed');
});

it('blames no tool for arguments that do not fit, a cancellation, or time that others left it [verifies tools.limits.blame]', async () => {
  const time = createManualTime();
  const { tool, open } = makeHeld({ source: 'http:shop', inputSchema: { type: 'object', properties: { a: { type: 'number' } } } });
  const service = createTestToolService([tool], { ...time, limits: { probe: { breaker: { failures: 1 } } } });
  await readCall(service, makeToolCall({ input: { a: 'x' } }));
  const controller = new AbortController();
  const cancelled = readCall(service, makeToolCall(), { signal: controller.signal });
  await time.advance(1);
  controller.abort();
  await cancelled;
  const short = readCall(service, makeToolCall({ timeoutMs: 10 }));
  await time.advance(10);
  expect(errorOf(await short)).toEqual({ code: 'tool_timeout', began: true });
  const whole = readCall(service, makeToolCall({ timeoutMs: tool.timeoutMs }));
  await time.advance(tool.timeoutMs);
  expect(errorOf(await whole)).toEqual({ code: 'tool_timeout', began: true });
  expect(errorOf(await readCall(service, makeToolCall()))).toEqual({ code: 'tool_unavailable', began: false });
  expect(open).toHaveLength(3);
});

it('blames no tool that breaks when it is told to stop by whoever called it [verifies tools.limits.blame]', async () => {
  const time = createManualTime();
  const execute: Tool['execute'] = (_input, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new TypeError('it was not ready for that')));
    });
  const service = createTestToolService([makeTool({ execute })], { ...time, limits: { probe: { breaker: { failures: 1 } } } });
  for (let index = 0; index < 2; index += 1) {
    const controller = new AbortController();
    const reading = readCall(service, makeToolCall(), { signal: controller.signal });
    await time.advance(1);
    controller.abort();
    expect(errorOf(await reading)).toEqual({ code: 'cancelled', began: true });
  }
});
