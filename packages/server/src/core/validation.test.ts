import { expect, it } from 'vitest';
import { z } from 'zod';
import { NexusError } from './errors.ts';
import { parseRequest } from './validation.ts';

const schema = z.strictObject({ name: z.string(), url: z.int().optional(), maxTokens: z.int().optional() });

function refusal(value: unknown): NexusError {
  try {
    parseRequest(schema, value, 'body');
  } catch (error) {
    if (error instanceof NexusError) return error;
  }
  throw new Error('expected a refusal');
}

it('repeats no credential that it finds', () => {
  expect(refusal({ name: 'a', url: 'postgres://user:hunter2@host/db' }).message).toContain('got "postgres://user:[redacted]@host/db"');
});

it('explains a bounded number of faults at bounded length, in bounded time', () => {
  const many = Object.fromEntries(Array.from({ length: 300_000 }, (_, index) => [`nmae${index}`, 1]));
  const long = { ['x'.repeat(5_000_000)]: 1, name: 'y'.repeat(5_000_000), url: 'z'.repeat(5_000_000) };
  const startedAt = performance.now();
  for (const value of [many, long]) {
    const { message, details } = refusal(value);
    expect(details?.issues).toHaveProperty('length');
    expect(JSON.stringify(details).length).toBeLessThan(30_000);
    expect(message.length).toBeLessThan(1500);
  }
  expect(performance.now() - startedAt).toBeLessThan(2000);
});

it('finds the field that was meant', () => {
  expect(refusal({ name: 'a', max_token: 5 }).message).toBe('body: max_token: unknown field; did you mean "maxTokens"?');
});

it.each([
  [z.string().min(1), '', 'expected a text that is not empty, got ""'],
  [z.string().min(3), 'a', 'expected string of at least 3 characters, got "a"'],
  [z.array(z.string()).max(1), ['a', 'b'], 'expected array of at most 1 items, got ["a","b"]'],
  [z.number().max(65_535), 99_999, 'expected number of at most 65535, got 99999'],
  [z.number().gt(0), 0, 'expected number of more than 0, got 0'],
  [z.string().min(1, { error: 'expected a name' }), '', 'expected a name, got ""'],
])('says in words what a size has to be', (schema, value, message) => {
  expect(() => parseRequest(z.object({ it: schema }), { it: value }, 'body')).toThrow(`body: it: ${message}`);
});

it('says what the name of an entry must be, where one is not', () => {
  const named = z.record(z.string().regex(/^[a-z]+$/, { error: 'expected small letters' }), z.int());
  expect(() => parseRequest(named, { 'a b': 1 }, 'body')).toThrow('body: a b: expected small letters as the name of an entry');
});
