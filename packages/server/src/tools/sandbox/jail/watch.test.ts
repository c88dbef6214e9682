import { expect, it } from 'vitest';
import { pauseAfter } from './watch.ts';

it('the next look into a jail comes soon, however long the last one took on a busy machine [verifies tools.jail.contained]', () => {
  expect([0, 5, 20, 50, 100, 10_000].map(pauseAfter)).toEqual([50, 50, 80, 200, 250, 250]);
});
