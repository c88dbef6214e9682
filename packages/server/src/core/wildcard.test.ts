import fc from 'fast-check';
import { expect, it } from 'vitest';
import { matchesWildcard } from './wildcard.ts';

it('matches as the regular expression would that it stands for', () => {
  const letters = (...pool: string[]) => fc.array(fc.constantFrom(...pool), { maxLength: 8 }).map((list) => list.join(''));
  fc.assert(
    fc.property(letters('a', 'b', '?', '*', '*'), letters('a', 'b', '.'), (pattern, text) => {
      const expression = pattern.replaceAll('?', '.').replaceAll('*', '.*');
      expect(matchesWildcard(pattern, text)).toBe(new RegExp(`^(?:${expression})$`).test(text));
    }),
    { numRuns: 1000 },
  );
});

it('takes time proportional to the product of the lengths at most', () => {
  const startedAt = performance.now();
  expect(matchesWildcard('*a'.repeat(1000), `${'a'.repeat(20_000)}b`)).toBe(false);
  expect(matchesWildcard(`*${'a'.repeat(1000)}b`, 'a'.repeat(20_000))).toBe(false);
  expect(performance.now() - startedAt).toBeLessThan(2000);
});
