import { expect, it } from 'vitest';
import { systemClock } from '#core';
import { createToolRegistry, type Tool, type ToolFault } from '#tools';
import { describeToolRegistry } from '../../../../test/conformance/tools.ts';
import { makeToolContext } from './testing/context.ts';

describeToolRegistry('in process', { create: async (options) => createToolRegistry({ ...options, clock: systemClock }) });

const tool = (definition: Partial<Tool>): Tool => ({
  name: 'probe',
  description: 'for tests',
  inputSchema: { type: 'object' },
  effects: 'none',
  permissions: [],
  timeoutMs: 1_000,
  execute: async () => ({ type: 'ok', output: '' }),
  ...definition,
});

it('refuses two tools of one name and a name that models cannot use', () => {
  const create = (...names: string[]) => createToolRegistry({ tools: names.map((name) => tool({ name })), clock: systemClock });
  expect(() => create('a', 'a')).toThrow(/two tools are named a/);
  expect(() => create('a b')).toThrow(/is no tool name/);
});

it('reports the cause of an unexpected failure to the log only', async () => {
  const faults: ToolFault[] = [];
  const cause = new Error('password=hunter2');
  const broken = tool({ execute: () => Promise.reject(cause) });
  const registry = createToolRegistry({ tools: [broken], clock: systemClock, onFault: (fault) => faults.push(fault) });
  const result = await registry.execute(broken, {}, makeToolContext(), { timeoutMs: 1_000 });
  expect(JSON.stringify(result)).not.toContain('hunter2');
  expect(faults).toEqual([{ toolName: 'probe', callId: 'call_1', error: cause }]);
});

it('takes schemas of other drafts and of the same $id', () => {
  const schema = { $schema: 'http://json-schema.org/draft-07/schema#', $id: 'same', type: 'object', required: ['a'] };
  const tools = [tool({ name: 'a', inputSchema: schema }), tool({ name: 'b', inputSchema: { ...schema } })];
  const registry = createToolRegistry({ tools, clock: systemClock });
  expect(tools.map((each) => registry.validate(each, { a: 1 }).type)).toEqual(['ok', 'ok']);
});

it('answers with an error when the schema itself is broken', () => {
  const broken = tool({ inputSchema: { type: 'nonsense' } });
  const registry = createToolRegistry({ tools: [broken], clock: systemClock });
  expect(registry.validate(broken, {})).toMatchObject({ type: 'error', error: { code: 'config_invalid' } });
});

it('books the most that a call may cost when the reported cost makes no sense', async () => {
  const odd = tool({ maxCostMicroUsd: 50, execute: async () => ({ type: 'ok', output: '', costMicroUsd: Number.NaN }) });
  const registry = createToolRegistry({ tools: [odd], clock: systemClock });
  expect(await registry.execute(odd, {}, makeToolContext(), { timeoutMs: 1_000 })).toMatchObject({ type: 'ok', costMicroUsd: 50 });
});

it('refuses permissions to a call that is over', async () => {
  let ask: (() => Promise<unknown>) | undefined;
  const curious = tool({
    execute: async (_input, context) => {
      ask = () => context.authorize({ action: 'net.egress', resource: 'example.com' });
      return { type: 'ok', output: '' };
    },
  });
  const registry = createToolRegistry({ tools: [curious], clock: systemClock });
  await registry.execute(curious, {}, makeToolContext(), { timeoutMs: 1_000 });
  expect(await ask?.()).toMatchObject({ allowed: false });
});
