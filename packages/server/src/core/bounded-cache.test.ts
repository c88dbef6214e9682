import { expect, it } from 'vitest';
import { createCountedCache } from './bounded-cache.ts';

it('keeps the newest entries that were asked for, and no more than it may', () => {
  const cache = createCountedCache<string, number>(3);
  for (const [index, key] of ['a', 'b', 'c'].entries()) cache.set(key, index);
  expect(cache.get('a')).toBe(0);
  cache.set('d', 3);
  expect([...cache.keys()].sort()).toEqual(['a', 'c', 'd']);
  for (let index = 0; index < 100; index++) cache.set(`x${index}`, index);
  expect(cache.size).toBe(3);
});
