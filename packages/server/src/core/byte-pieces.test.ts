import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BytePieces } from './byte-pieces.ts';

it('are what came, however they were cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3 }), { maxLength: 50 }), fc.integer({ min: 1, max: 100 }), (cuts, times) => {
      const pieces = new BytePieces();
      const all = Array.from({ length: times }, () => cuts.map((cut) => Buffer.from(cut))).flat();
      for (const piece of all) pieces.add(piece);
      expect(pieces.concat().equals(Buffer.concat(all))).toBe(true);
      expect(pieces.bytes).toBe(Buffer.concat(all).length);
    }),
    { numRuns: 50 },
  );
});

it('are whole again beyond a million', () => {
  const pieces = new BytePieces();
  for (let index = 0; index < 1_100_000; index++) pieces.add(Buffer.from([index % 256]));
  const all = pieces.concat();
  expect(all.length).toBe(1_100_000);
  expect(all.every((byte, index) => byte === index % 256)).toBe(true);
});
