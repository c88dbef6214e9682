import { expect, it } from 'vitest';
import { createTestEngine, toolRequest } from '#policy/testing';
import { createFormCache, createMemo, createSliceCache, maxMemoKeyChars } from './caches.ts';
import type { Slice } from './slice.ts';
import type { Decision } from './types.ts';

const decision: Decision = { effect: 'deny', action: 'tool.execute', principal: 'p', resource: 'r', reasons: [], policyVersion: 'v' };

function sliceOf(policies: number): Slice {
  const list = Array.from({ length: policies }, (_, index) => [String(index), {}] as const);
  return { policies: new Map(list), key: 'k' } as unknown as Slice; // only its size is looked at
}

it('holds so many entries, and so much in all, of whatever size they are', () => {
  const [memo, slices, forms] = [createMemo(8192), createSliceCache(), createFormCache()];
  for (let index = 0; index < 20_000; index++) {
    memo.set(String(index), decision);
    slices.set(String(index), sliceOf(0));
    forms.set(String(index), []);
  }
  expect([memo.size, slices.size, forms.size]).toEqual([8192, 8192, 1024]);
  const large = sliceOf(10_000);
  for (let index = 0; index < 8192; index++) memo.set(String(index).padEnd(maxMemoKeyChars), decision);
  for (let index = 0; index < 100; index++) slices.set(String(index), large);
  for (let index = 0; index < 1024; index++) forms.set(String(index), Array.from({ length: 600 }));
  expect(memo.size * maxMemoKeyChars).toBeLessThanOrEqual(16_000_000);
  expect(slices.size).toBeLessThan(50);
  expect(forms.size).toBeLessThan(84);
});

const sources = [
  {
    name: 'ops',
    text: 'permit (principal, action == Action::"tool.execute", resource) when { context.argumentsJson like "*a*" || resource.name like "*" };',
  },
];

function asking(memoEntries: number) {
  const engine = createTestEngine({ sources, memoEntries });
  return (value: unknown) => engine.decide(toolRequest('t', { context: { arguments: { value } } }));
}

it('remembers so many answers as it is told', () => {
  const decide = asking(3);
  const [first, second] = [decide(1), decide(2)];
  expect(decide(1)).toBe(first);
  decide(3);
  decide(4);
  expect(decide(1)).toBe(first);
  expect(decide(2)).not.toBe(second);
  expect(decide(2)).toEqual(second);
  const forgetful = asking(0);
  expect(forgetful(1)).not.toBe(forgetful(1));
});

it('evaluates a question that is too long to remember each time', () => {
  const decide = asking(100);
  const [short, long] = ['x'.repeat(maxMemoKeyChars - 1000), 'x'.repeat(maxMemoKeyChars + 1)];
  expect(decide(short)).toBe(decide(short));
  expect(decide(long)).not.toBe(decide(long));
  expect(decide(long)).toEqual(decide(short));
});

it('lets nobody change an answer that is remembered', () => {
  const text = '@obligation("cap_tokens:5") permit (principal, action, resource);';
  const answer = createTestEngine({ sources: [{ name: 'ops', text }] }).decide(toolRequest('t'));
  expect(answer.obligations).toEqual([{ type: 'cap_tokens', maxTokens: 5 }]);
  for (const part of [answer, answer.reasons, answer.obligations, answer.obligations?.[0]]) expect(Object.isFrozen(part)).toBe(true);
});
