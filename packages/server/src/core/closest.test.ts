import fc from 'fast-check';
import { expect, it } from 'vitest';
import { closest } from './closest.ts';

it('finds the word that was meant, and none where none is near', () => {
  const known = ['allow_private', 'maxTokens', 'sessions', 'session'];
  expect(closest('alowPrivate', known)).toBe('allow_private');
  expect(closest('maxTokesn', known)).toBe('maxTokens');
  expect(closest('sesion', known)).toBe('session');
  expect(closest('nothing like it', known)).toBeNull();
  expect(closest('', known)).toBeNull();
  expect(closest('a'.repeat(60), ['a'.repeat(52)])).toBe('a'.repeat(52));
  expect(closest('a'.repeat(60), ['a'.repeat(51)])).toBeNull();
});

/** By the whole table, and two neighbours that changed places are one edit. */
function edits(a: string, b: string): number {
  const table = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (__, j) => (i === 0 ? j : i)));
  const at = (i: number, j: number) => table[i]?.[j] ?? Number.NaN;
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      const ways = [at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1), at(i - 1, j) + 1, at(i, j - 1) + 1];
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) ways.push(at(i - 2, j - 2) + 1);
      (table[i] as number[])[j] = Math.min(...ways);
    }
  return at(a.length, b.length);
}

it('says the same as whoever compares everything', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(word, fc.array(word, { maxLength: 5 }), (wanted, known) => {
      const most = Math.min(8, Math.max(2, Math.floor(wanted.length / 3)));
      const distances = known.map((each) => edits(wanted, each));
      const least = Math.min(...distances, Number.POSITIVE_INFINITY);
      expect(closest(wanted, known)).toBe(least > most ? null : known[distances.indexOf(least)]);
    }),
    { numRuns: 500 },
  );
});

it('compares a long word with a thousand long ones in a moment', () => {
  const known = Array.from({ length: 1_000 }, (_, index) => `${'ba'.repeat(60)}${'c'.repeat(66)}${index + 1_000}`);
  for (let turn = 0; turn < 3; turn++) closest(`${'ba'.repeat(95)}x`, known);
  const startedAt = process.cpuUsage().user;
  closest(`${'ba'.repeat(95)}x`, known);
  // About 15 ms; by the whole of each table half a second.
  expect((process.cpuUsage().user - startedAt) / 1_000).toBeLessThan(150);
});
