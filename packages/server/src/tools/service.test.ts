import { getEventListeners } from 'node:events';
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import { createFixedSource, type Tool, type ToolFault } from '#tools';
import { describeToolService } from '../../../../test/conformance/tools.ts';
import { createTestToolService, makeTool, makeToolCall, plainFolders, readCall } from './testing/index.ts';

describeToolService('in process', {
  create: async ({ tools, ...options }) => createTestToolService(tools, options),
});

it('refuses two tools of one name and a name that models cannot use', async () => {
  const create = (...names: string[]) => createFixedSource(names.map((name) => makeTool({ name })));
  expect(() => create('a', 'a')).toThrow(/two tools are named a, tools\[1\] and tools\[0\]; rename one/);
  expect(() => create('a b')).toThrow(/is no tool name/);
});

it('leaves out a tool whose name is taken, or that is not sound, and keeps all others [verifies tools.sources.apart]', async () => {
  const told: (readonly string[])[] = [];
  const first = createFixedSource([makeTool({ name: 'a', execute: async () => ({ type: 'ok', output: 'first' }) })]);
  const second = [
    makeTool({ name: 'a', source: 'mcp:other', execute: async () => ({ type: 'ok', output: 'second' }) }),
    makeTool({ name: 'b', source: 'mcp:other', inputSchema: { type: 'nonsense' } }),
    makeTool({ name: 'c', source: 'mcp:other' }),
  ];
  const service = createTestToolService([], {
    sources: [first, { tools: async () => second }],
    onLeftOut: (_tenantId, faults) => told.push(faults),
  });
  expect((await service.list('ten_1')).map(({ name, source }) => `${name} of ${source}`)).toEqual(['a of undefined', 'c of mcp:other']);
  expect(await readCall(service, makeToolCall({ toolName: 'a' }))).toMatchObject({ output: 'first' });
  await service.list('ten_1');
  expect(told).toEqual([
    [
      'mcp:other has a tool a, as program has; the one of program is used',
      expect.stringMatching(/^tools\[2\] \(b\)\.inputSchema: is no JSON Schema/),
    ],
  ]);
});

it('gives each tenant its own tools, and runs no tool of another', async () => {
  const own = (tenantId: string) => makeTool({ name: `of_${tenantId}`, execute: async () => ({ type: 'ok', output: tenantId }) });
  const lists = new Map(['a', 'b'].map((tenantId) => [tenantId, [own(tenantId)]]));
  const shared = createFixedSource([makeTool({ name: 'shared' })]);
  const service = createTestToolService([], { sources: [shared, { tools: async (tenantId) => lists.get(tenantId) ?? [] }] });
  const namesOf = async (tenantId: string) => (await service.list(tenantId)).map(({ name }) => name);
  expect(await namesOf('a')).toEqual(['shared', 'of_a']);
  expect(await namesOf('b')).toEqual(['shared', 'of_b']);
  expect(await readCall(service, makeToolCall({ tenantId: 'a', toolName: 'of_a' }))).toMatchObject({ output: 'a' });
  expect(await readCall(service, makeToolCall({ tenantId: 'b', toolName: 'of_a' }))).toMatchObject({ error: { code: 'tool_not_found' } });
  lists.set('b', []);
  expect(await namesOf('b')).toEqual(['shared']);
  expect(await readCall(service, makeToolCall({ tenantId: 'b', toolName: 'of_b' }))).toMatchObject({ error: { code: 'tool_not_found' } });
});

it('tells the cause of an unexpected failure to the log only', async () => {
  const faults: ToolFault[] = [];
  const cause = new Error('password=hunter2');
  const broken = makeTool({ execute: () => Promise.reject(cause) });
  const end = await readCall(createTestToolService([broken], { onFault: (fault) => faults.push(fault) }), makeToolCall());
  expect(JSON.stringify(end)).not.toContain('hunter2');
  expect(faults).toEqual([{ toolName: 'probe', callId: 'call_1', error: cause }]);
});

it('books the most that a call may cost when the cost is not reported, or makes no sense', async () => {
  for (const cost of [{}, ...[Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY].map((costMicroUsd) => ({ costMicroUsd }))]) {
    const odd = makeTool({ maxCostMicroUsd: 50, execute: async () => ({ type: 'ok', output: '', ...cost }) });
    expect(await readCall(createTestToolService([odd]), makeToolCall())).toMatchObject({ type: 'completed', costMicroUsd: 50 });
  }
});

it('gives a tool exactly its time and then exactly the grace', async () => {
  const time = createManualTime();
  const stoppedAt: number[] = [];
  const execute: Tool['execute'] = (_input, { signal }) => {
    signal.addEventListener('abort', () => stoppedAt.push(time.clock.monotonic()));
    return new Promise(() => undefined);
  };
  const service = createTestToolService([makeTool({ effects: 'once', execute })], { ...time, graceMs: 500 });
  let ended = false;
  const reading = readCall(service, makeToolCall({ timeoutMs: 3_000 })).finally(() => {
    ended = true;
  });
  await time.advance(3_499);
  expect(stoppedAt).toEqual([3_000]);
  expect(ended).toBe(false);
  await time.advance(1);
  expect(await reading).toMatchObject({ error: { code: 'tool_outcome_unknown', details: { cause: 'tool_timeout' } }, durationMs: 3_500 });
  expect(time.pending).toBe(0);
});

it('hears nothing more of a tool that it gave up, neither for the reader nor for the log', async () => {
  const time = createManualTime();
  const faults: ToolFault[] = [];
  const parts: string[] = [];
  const late: Tool['execute'] = async (_input, { onOutput }) => {
    await time.timers.sleep(10_000);
    onOutput('still here');
    return { type: 'ok', output: 'not what the schema says' };
  };
  const tool = makeTool({ outputSchema: { type: 'object' }, execute: late });
  const service = createTestToolService([tool], { ...time, graceMs: 500, onFault: (fault) => faults.push(fault) });
  const reading = readCall(service, makeToolCall({ timeoutMs: 1_000 }), { onPart: ({ type }) => parts.push(type) });
  await time.advance(1_500);
  expect(await reading).toMatchObject({ error: { code: 'tool_timeout' } });
  await time.advance(20_000);
  expect(parts).toEqual(['failed']);
  expect(faults).toEqual([]);
});

it('counts the making of the folder into the time, and begins no tool after it', async () => {
  const time = createManualTime();
  let ran = false;
  const execute: Tool['execute'] = async () => {
    ran = true;
    return { type: 'ok', output: '' };
  };
  const folders = plainFolders(() => time.timers.sleep(5_000).then(() => '/late'));
  const service = createTestToolService([makeTool({ effects: 'once', permissions: ['fs.write'], execute })], { ...time, folders });
  const reading = readCall(service, makeToolCall({ timeoutMs: 1_000 }));
  await time.advance(1_000);
  expect(await reading).toMatchObject({ error: { code: 'tool_timeout' }, durationMs: 1_000 }); // it never began: nothing is unknown
  await time.advance(10_000);
  expect(ran).toBe(false);
});

it('leaves no timer and no listener behind', async () => {
  const time = createManualTime();
  const controller = new AbortController();
  let listeners = 0;
  const { signal } = controller;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  Object.assign(signal, {
    addEventListener(...args: Parameters<typeof add>) {
      listeners += 1;
      add(...args);
    },
    removeEventListener(...args: Parameters<typeof remove>) {
      listeners -= 1;
      remove(...args);
    },
  });
  const service = createTestToolService([makeTool()], time);
  for (let index = 0; index < 5; index++) await readCall(service, makeToolCall(), { signal });
  expect([time.pending, listeners]).toEqual([0, 0]);
});

it('tells the log where an output does not fit its schema, and nothing of what was there', async () => {
  const faults: ToolFault[] = [];
  const chatty = makeTool({ outputSchema: { type: 'number' }, execute: async () => ({ type: 'ok', output: 'the patient John Doe' }) });
  const end = await readCall(createTestToolService([chatty], { onFault: (fault) => faults.push(fault) }), makeToolCall());
  expect(end).toMatchObject({ type: 'failed', began: true, error: { code: 'tool_failed' } });
  expect(faults).toHaveLength(1);
  expect(inspect(faults[0]?.error)).toContain('number');
  expect(inspect(faults[0]?.error)).not.toContain('patient');
});

it('runs any number of tools under one signal without a warning, and stops them all by it', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const execute: Tool['execute'] = (_input, context) =>
    new Promise((resolve) => context.signal.addEventListener('abort', () => resolve({ type: 'ok', output: 'stopped' })));
  const service = createTestToolService([makeTool({ execute })]);
  const reading = Promise.all(
    Array.from({ length: 50 }, (_, index) => readCall(service, makeToolCall({ callId: `call_${index}` }), { signal })),
  );
  await new Promise((resolve) => setImmediate(resolve));
  expect(getEventListeners(signal, 'abort')).toHaveLength(50);
  controller.abort();
  expect((await reading).every((end) => end.type === 'completed' && end.output === 'stopped')).toBe(true);
  expect(getEventListeners(signal, 'abort')).toEqual([]);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
