import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { createSharedClock } from './shared-clock.ts';

it('tells the time of the clock that it follows, also when its own is minutes off or is set in between', async () => {
  for (const offMs of [-300_000, 0, 300_000]) {
    const truth = createManualClock();
    let wrongMs = offMs;
    const clock = createSharedClock({ now: () => truth.now() + wrongMs, monotonic: () => truth.monotonic() });
    await clock.follow(async () => {
      truth.advance(40);
      return truth.now();
    });
    expect(Math.abs(clock.now() - truth.now())).toBeLessThanOrEqual(41);
    truth.advance(10_000);
    expect(Math.abs(clock.now() - truth.now())).toBeLessThanOrEqual(41);
    wrongMs += 7_000;
    await clock.follow(async () => truth.now());
    expect(Math.abs(clock.now() - truth.now())).toBeLessThanOrEqual(41);
  }
});

it('stays as it is when the other clock cannot be read', async () => {
  const local = createManualClock();
  const clock = createSharedClock(local);
  await expect(clock.follow(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect(clock.now()).toBe(local.now());
});

it('is never further off than the time that a reading took, and does not move while it may be right', async () => {
  const readings = fc.array(fc.tuple(fc.nat(5_000), fc.double({ min: 0, max: 1, noNaN: true })), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: -1e9, max: 1e9 }), readings, async (offMs, given) => {
      const local = createManualClock();
      const clock = createSharedClock(local);
      const errorMs = () => Math.abs(clock.now() - (local.now() + offMs));
      for (const [tookMs, part] of given) {
        const before = clock.now() - local.now();
        await clock.follow(async () => {
          const shared = Math.round(local.now() + offMs + tookMs * part);
          local.advance(tookMs);
          return shared;
        });
        expect(errorMs()).toBeLessThanOrEqual(tookMs + 2);
        if (Math.abs(before - offMs) <= 0) expect(clock.now() - local.now()).toBe(before);
      }
    }),
  );
});
