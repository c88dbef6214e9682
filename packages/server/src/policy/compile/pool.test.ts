import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createPool } from './pool.ts';

interface Thing {
  readonly name: string;
  readonly weight: number;
}

function createTestPool(maxEntries: number, maxWeight: number) {
  const slots = new Map<string, Thing>();
  const pool = createPool<Thing>({
    maxEntries,
    maxWeight,
    weigh: ({ weight }) => weight,
    fill(slot, thing) {
      if (thing.name === 'broken') throw new Error('cannot be filled');
      expect(slots.has(slot)).toBe(false);
      slots.set(slot, thing);
    },
    empty: (slot) => void slots.delete(slot),
  });
  return { slots, get: (name: string, weight: number) => pool.get(name, () => ({ name, weight })) };
}

it('gives the slot that holds what was asked for, and stays within its bounds', () => {
  const things = fc.array(
    fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'broken'), weight: fc.integer({ min: 0, max: 12 }) }),
  );
  fc.assert(
    fc.property(things, (asked) => {
      const { slots, get } = createTestPool(3, 10);
      const seen = new Set<string>();
      for (const { name, weight } of asked) {
        if (name === 'broken') {
          expect(() => get(name, weight)).toThrow('cannot be filled');
          continue;
        }
        const slot = get(name, weight);
        seen.add(slot);
        expect(slots.get(slot)?.name).toBe(name);
        expect(slots.size).toBeLessThanOrEqual(3);
        const together = [...slots.values()].reduce((sum, thing) => sum + thing.weight, 0);
        expect(together <= 10 || slots.size === 1).toBe(true);
      }
      // A slot cannot be given back, so no more may be made than are held at once.
      expect(seen.size).toBeLessThanOrEqual(3);
    }),
    { numRuns: 500 },
  );
});

it('keeps what was used last', () => {
  const { slots, get } = createTestPool(2, 100);
  const first = get('a', 1);
  get('b', 1);
  expect(get('a', 1)).toBe(first);
  get('c', 1);
  expect([...slots.values()].map(({ name }) => name).sort()).toEqual(['a', 'c']);
});
