import fc from 'fast-check';
import { expect, it } from 'vitest';
import { literalSearch } from './literal-search.ts';

it('finds a text of any length where it begins first', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 2_000 });
  const wanted = fc.tuple(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 6 }), fc.integer({ min: 1, max: 120 }));
  fc.assert(
    fc.property(text, text, wanted, (before, after, [unit, times]) => {
      const query = unit.repeat(times);
      const find = literalSearch(query);
      for (const each of [before + query + after, before, query.slice(1), '']) expect(find(each)).toBe(each.indexOf(query));
    }),
    { numRuns: 300 },
  );
});

it('takes its time from the lengths, whatever is looked for', () => {
  const line = 'a'.repeat(65_000);
  const find = literalSearch(`${'a'.repeat(500)}b${'a'.repeat(499)}`);
  find(line);
  const startedAt = process.cpuUsage().user;
  for (let turn = 0; turn < 20; turn++) expect(find(line)).toBe(-1);
  // About 5 ms; as the engine itself looks for it, a second.
  expect((process.cpuUsage().user - startedAt) / 1_000).toBeLessThan(150);
});
