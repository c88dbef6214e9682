import { describe, expect, it } from 'vitest';
import type { Tool } from '#tools';
import { makeTool } from '#tools/testing';
import { checkTools } from './check-tools.ts';

/** As a program without types would write it. */
const odd = (changes: object) => [{ ...makeTool({ name: 'pay' }), ...changes }];

describe('a tool that is given', () => {
  it.each<[string, unknown, RegExp]>([
    ['no list', { a: makeTool() }, /^tools: expected a list of tools, got an object$/],
    ['nothing in the list', [null], /^tools\[0\]: expected a tool, got null$/],
    [
      'a misspelt rule of safety',
      odd({ effects: 'onec' }),
      /^tools\[0\] \(pay\)\.effects: expected "none" or "idempotent" or "once", got "onec"; did you mean "once"\?$/,
    ],
    ['no effects', odd({ effects: undefined }), /effects: expected "none" or "idempotent" or "once", but it is missing/],
    ['no time', odd({ timeoutMs: undefined }), /timeoutMs: expected whole milliseconds from 1 to 86400000, but it is missing/],
    ['endless time', odd({ timeoutMs: Number.POSITIVE_INFINITY }), /timeoutMs: expected whole milliseconds/],
    [
      'time that timers cannot keep',
      odd({ timeoutMs: 2 ** 31 }),
      /timeoutMs: expected whole milliseconds from 1 to 86400000, got 2147483648/,
    ],
    ['no permissions', odd({ permissions: undefined }), /permissions: expected a list of what it touches/],
    ['a misspelt permission', odd({ permissions: ['fs.wirte'] }), /there is no permission "fs\.wirte"; did you mean "fs\.write"\?/],
    ['a permission that nothing gives', odd({ permissions: ['net.listen.everywhere'] }), /known are fs\.read, fs\.write/],
    ['nothing to execute', odd({ execute: undefined }), /execute: expected a function/],
    ['an unknown field', odd({ timeoutMS: 5 }), /timeoutMS: unknown field; did you mean "timeoutMs"\?/],
    ['a cost that is none', odd({ maxCostMicroUsd: -1 }), /maxCostMicroUsd: expected a whole number of micro-USD, from 0, got -1/],
    ['a name that models cannot use', odd({ name: 'pay now' }), /name: is no tool name: use 1 to 64 of the characters/],
    ['the name of an agent call', odd({ name: 'agent_writer' }), /names with agent_ call agents/],
    ['a schema that is none', odd({ inputSchema: { type: 'nonsense' } }), /inputSchema: is no JSON Schema/],
    ['a schema as text', odd({ inputSchema: '{}' }), /inputSchema: expected a JSON Schema of an object/],
    [
      'arguments without names',
      odd({ inputSchema: { type: 'array' } }),
      /inputSchema\.type: expected "object", for arguments have names; got "array"/,
    ],
    ['an output schema that is none', odd({ outputSchema: { minimum: 'x' } }), /outputSchema: is no JSON Schema/],
    ['one name twice', [...odd({}), ...odd({})], /two tools are named pay, tools\[1\] and tools\[0\]; rename one/],
  ])('with %s is refused [verifies tools.given.checked]', (_, tools, message) => {
    expect(() => checkTools(tools)).toThrow(expect.objectContaining({ code: 'config_invalid', message: expect.stringMatching(message) }));
  });

  it('is told everything that is wrong at once, and what is right is taken', () => {
    expect(() => checkTools(odd({ effects: 1, timeoutMs: 0, permissions: 'fs.read' }))).toThrow(/effects.*permissions.*timeoutMs/s);
    checkTools(odd({ permissions: ['payments', 'fs.read'], maxCostMicroUsd: 0, outputSchema: { type: 'string' } }));
  });

  it('may be an object of a class, but for a field that is nearly right', () => {
    class Counter {
      readonly #tool = makeTool({ name: 'counter' });
      readonly client = { any: 'thing' };
      readonly name = 'counter';
      readonly inputSchema = this.#tool.inputSchema;
      readonly timeoutMs = 5;
      readonly permissions: string[] = [];
      get description() {
        return this.#tool.description;
      }
      get effects() {
        return 'once' as const;
      }
      execute: Tool['execute'] = async () => ({ type: 'ok', output: '' });
    }
    checkTools([new Counter()]);
    class Misspelt extends Counter {
      readonly sharesfolder = true;
    }
    expect(() => checkTools([new Misspelt()])).toThrow(/sharesfolder: unknown field; did you mean "sharesFolder"\?/);
  });
});
