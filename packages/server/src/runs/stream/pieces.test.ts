import fc from 'fast-check';
import { expect, it } from 'vitest';
import { piecesOf } from './pieces.ts';

const unit = fc.constantFrom('a', 'é', '\u2028', '€', '😀', '"', '\\', '\n', '\u0000', '\u001f', '\ud83d', '\ude00', '/');
const size = (text: string) => Buffer.byteLength(JSON.stringify(JSON.stringify(text).slice(1, -1)).slice(1, -1));

it('keeps every piece within its bytes, whatever the characters, and loses none of them', () => {
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 400 }), fc.integer({ min: 8, max: 300 }), (units, maxBytes) => {
      const text = units.join('');
      const pieces = piecesOf(text, maxBytes);
      expect(pieces.join('')).toBe(text);
      for (const piece of pieces) expect(size(piece)).toBeLessThanOrEqual(maxBytes);
    }),
    { numRuns: 300 },
  );
});

it('does not cut a pair of surrogates', () => {
  for (const piece of piecesOf('😀'.repeat(500), 100)) expect(piece.isWellFormed()).toBe(true);
});

it('leaves a text whole that fits', () => {
  expect(piecesOf('x'.repeat(1000), 7000)).toEqual(['x'.repeat(1000)]);
  expect(piecesOf('x'.repeat(7000), 7000)).toEqual(['x'.repeat(7000)]);
  expect(piecesOf('', 10)).toEqual(['']);
});
