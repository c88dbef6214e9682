import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TextPieces } from './text-pieces.ts';

it('are what a join of them is, however many', () => {
  const piece = fc.string({ unit: 'binary', maxLength: 3 });
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 50 }),
      fc.constantFrom('', '\n'),
      fc.integer({ min: 1, max: 100 }),
      (some, separator, times) => {
        const pieces = new TextPieces(separator);
        const all = Array.from({ length: times }, () => some).flat();
        for (const each of all) pieces.add(each);
        expect(pieces.text()).toBe(all.join(separator));
        expect(pieces.length).toBe(all.join(separator).length);
      },
    ),
    { numRuns: 50 },
  );
});

it('are whole beyond a million', () => {
  const pieces = new TextPieces('\n');
  for (let index = 0; index < 1_100_000; index++) pieces.add(String(index % 10));
  expect(pieces.length).toBe(2_199_999);
  expect(pieces.text()).toBe(Array.from({ length: 1_100_000 }, (_, index) => index % 10).join('\n'));
});
