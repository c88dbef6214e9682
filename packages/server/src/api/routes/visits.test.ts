import { expect, it } from 'vitest';
import { createVisits } from './visits.ts';

it('counts what visitors start, greetings apart from others, in each minute', () => {
  let now = 0;
  const visits = createVisits({ monotonic: () => now });
  const start = (input: string) => visits.admit({ input }, 'hello');
  for (let count = 0; count < 60; count++) start('mine');
  expect(() => start('mine')).toThrow('at most 60 such runs');
  for (let count = 0; count < 1_200; count++) start('hello');
  expect(() => start('hello')).toThrow('at most 1200 such runs');
  now = 60_000;
  start('mine');
});

it('lets a visitor ask for less than it may have, and never for more', () => {
  const visits = createVisits({ monotonic: () => 0 });
  const { budget, user } = visits.admit({ input: 'x', user: 'somebody', budget: { costMicroUsd: 5, tokens: 1_000_000_000 } }, 'hello');
  expect(budget).toEqual({ costMicroUsd: 5, tokens: 200_000, toolCalls: 20, wallMs: 600_000 });
  expect(user).toBe('visitor');
});
