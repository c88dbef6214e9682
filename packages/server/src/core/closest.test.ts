import { createHash } from 'node:crypto';
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

/** By the whole table. */
function distanceOf(a: string, b: string): number {
  const table = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : i)));
  const at = (i: number, j: number) => table[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const ways = [at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1), at(i - 1, j) + 1, at(i, j - 1) + 1];
      (table[i] as number[])[j] = Math.min(...ways, ...(isSwap ? [at(i - 2, j - 2) + 1] : []));
    }
  return at(a.length, b.length);
}

it('names the word with the fewest edits, where a misspelling may have made them', () => {
  const word = fc.array(fc.constantFrom(...'abc'), { maxLength: 14 }).map((letters) => letters.join(''));
  fc.assert(
    fc.property(word, fc.array(word, { maxLength: 6 }), (given, known) => {
      const near = known.map((each) => distanceOf(given, each));
      const least = Math.min(...near, Number.POSITIVE_INFINITY);
      const most = Math.min(8, Math.max(2, Math.floor(given.length / 3)));
      expect(closest(given, known)).toBe(least <= most ? known[near.indexOf(least)] : null);
    }),
    { numRuns: 2_000 },
  );
});

it('knows a long name with some letters changed, and none that is another', () => {
  const long = 'reports/of-the-year/of-the-month/of-the-week/of-the-day.md';
  expect(closest(long.replace('month', 'mnoth').replace('day', 'dya'), ['other', long])).toBe(long);
  expect(closest(long.replace(/[aeiou]/g, 'x'), [long])).toBeNull();
});

it('takes some milliseconds for whatever names there are [verifies hostile.known.bounded]', () => {
  const letters = (seed: string) => createHash('sha512').update(seed).digest('base64url').replace(/[_-]/g, 'x');
  const name = (seed: number, from = 0) =>
    Array.from({ length: 3 }, (_, at) => letters(`${at < from ? 0 : seed} ${at}`))
      .join('')
      .slice(0, 200);
  // All unlike, and all alike for most of their length.
  for (const known of [0, 2].map((from) => Array.from({ length: 2_000 }, (_, index) => name(index + 1, from)))) {
    closest(name(0), known.slice(0, 10));
    const before = process.cpuUsage();
    closest(name(0), known);
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(250);
  }
  const alike = Array.from({ length: 2_000 }, (_, index) => name(index + 1, 2));
  const near = `${name(0).slice(0, -1)}!`;
  expect(closest(name(0), [near, ...alike])).toBe(near);
  expect(closest(name(0), [...alike, near])).toBeNull();
});
