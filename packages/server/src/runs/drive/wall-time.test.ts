import fc from 'fast-check';
import { expect, it } from 'vitest';
import { WallTime } from './wall-time.ts';

it('is booked as before by a call alone', () => {
  const time = new WallTime();
  time.begin('a', 'r1', 5_000, 100);
  expect(time.end('a', 240.2, true)).toEqual({ wallMs: 141 });
  time.begin('b', 'r2', 50, 1_000);
  expect(time.end('b', 1_080, true)).toEqual({ wallMs: 50 });
  time.begin('c', 'r3', 50, 2_000);
  expect(time.end('c', 2_010, false)).toEqual({ wallMs: 0 });
});

it('is left to one that goes on', () => {
  const time = new WallTime();
  time.begin('a', 'r1', 20_000, 0);
  time.begin('b', 'r2', 0, 10);
  time.begin('c', 'r3', 0, 20);
  expect(time.end('b', 90, true)).toEqual({ wallMs: 0, heir: 'r1' });
  expect(time.end('a', 100, true)).toEqual({ wallMs: 100, heir: 'r3' });
  expect(time.end('c', 130, true)).toEqual({ wallMs: 30 });
});

it('goes to nobody from a call whose outcome is asked of a person', () => {
  const time = new WallTime();
  time.begin('a', 'r1', 20_000, 0);
  time.begin('beside', 'r0', 0, 0);
  expect(time.end('a', 10, true, true)).toEqual({ wallMs: 10 });
  time.end('beside', 20, true);
  time.begin('b', 'r2', 1_000, 60_000);
  expect(time.end('b', 60_010, true)).toEqual({ wallMs: 10 });
});

it('adds up to the time in which any call ran [verifies budget.wall.union]', () => {
  const call = fc.record({ beginMs: fc.nat(1_000), takesMs: fc.integer({ min: 1, max: 500 }) });
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 12 }), (calls) => {
      const time = new WallTime();
      const moments = calls
        .flatMap(({ beginMs, takesMs }, index) => [
          { atMs: beginMs, index, begins: true },
          { atMs: beginMs + takesMs, index, begins: false },
        ])
        .sort((a, b) => a.atMs - b.atMs);
      const open = new Map<string, number>();
      let booked = 0;
      let union = 0;
      let lastMs = 0;
      for (const { atMs, index, begins } of moments) {
        if (open.size > 0) union += atMs - lastMs;
        lastMs = atMs;
        const id = `r${index}`;
        if (begins) {
          // As the ledger takes it: until its own end, less what others hold.
          const ends = [...open.values()];
          const until = atMs + 500;
          const heldMs = Math.max(0, until - Math.max(atMs, ...ends));
          open.set(id, until);
          time.begin(id, id, heldMs, atMs);
        } else {
          booked += time.end(id, atMs, true).wallMs;
          open.delete(id);
        }
      }
      expect(booked).toBe(union);
    }),
  );
});
