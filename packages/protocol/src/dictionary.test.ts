import { expect, it } from 'vitest';
import { dictionary } from './dictionary.ts';

it.each(Object.getOwnPropertyNames(Object.prototype))('has no %s unless it was put there [verifies hostile.kill.names]', (name) => {
  const words: Record<string, unknown> = dictionary({ gzip: 1 });
  expect(words[name]).toBeUndefined();
  words[name] = 'own';
  expect(Object.entries(words)).toEqual([
    ['gzip', 1],
    [name, 'own'],
  ]);
  expect(Object.getPrototypeOf(words)).toBeNull();
});
