import { expect, it } from 'vitest';
import { mostDeathsOf, poisonous } from './poisonous.ts';

it.each([
  { deaths: 0, diedAlone: false, ends: false },
  { deaths: 2, diedAlone: true, ends: false },
  { deaths: 3, diedAlone: true, ends: true },
  { deaths: 3, diedAlone: false, ends: false },
  { deaths: 9, diedAlone: false, ends: false },
  { deaths: 10, diedAlone: false, ends: true },
  { deaths: 12, diedAlone: true, ends: true },
])('says of $deaths deaths (alone: $diedAlone) that the run ends: $ends [verifies hostile.kill.poisonous]', ({ ends, ...row }) => {
  expect(poisonous(row, 3) !== null).toBe(ends);
  expect(poisonous(row, 20)).toBeNull();
});

it.each([3, 20, 1_000])(
  'takes a run up three times to end it, and no more, of %i deaths that may be [verifies hostile.kill.poisonous]',
  (maxDeaths) => {
    const most = mostDeathsOf(maxDeaths);
    const ended = [most - 3, most - 2, most - 1, most].map((deaths) => poisonous({ deaths, diedAlone: false }, maxDeaths) !== null);
    expect(ended).toEqual([false, true, true, true]);
  },
);
