import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type ClockReading, createClockWatch } from './clock-watch.ts';

/** A database's clock that can be set, asked over a way that takes time. */
function open() {
  let [passed, offset] = [1_000, 1_800_000_000_000];
  const watch = createClockWatch({ monotonic: () => passed });
  return {
    watch,
    pass(ms: number) {
      passed += ms;
    },
    set(byMs: number) {
      offset += byMs;
    },
    now: () => Math.floor(passed + offset),
    read(thereMs = 0, backMs = 0): ClockReading {
      const program = watch.read();
      program.next();
      passed += thereMs;
      const now = Math.floor(passed + offset);
      passed += backMs;
      const step = program.next({ rows: [{ now }], changes: 0 });
      if (!step.done) throw new Error('it asks once');
      return step.value;
    },
  };
}

it('believes a clock until it sees a step, and then as far as it has watched it since', () => {
  const clock = open();
  expect(clock.read()).toMatchObject({ steadyMs: Number.MAX_SAFE_INTEGER, watchedMs: 0, setBackFrom: null });
  clock.pass(5_000);
  expect(clock.read()).toMatchObject({ steadyMs: Number.MAX_SAFE_INTEGER, watchedMs: 5_000 });
  clock.set(2_000);
  clock.pass(10);
  expect(clock.read()).toMatchObject({ steadyMs: 0, watchedMs: 0, setBackFrom: null });
  clock.pass(700);
  expect(clock.read()).toMatchObject({ steadyMs: 700, watchedMs: 700 });
});

it('knows from when a clock was set back until that was made up for', () => {
  const clock = open();
  clock.read();
  const from = clock.now();
  clock.set(-30_000);
  clock.pass(100);
  const { setBackFrom } = clock.read();
  expect(setBackFrom).toBeGreaterThanOrEqual(from + 100);
  expect(setBackFrom).toBeLessThanOrEqual(from + 110);
  clock.watch.madeUp(from);
  expect(clock.read().setBackFrom).toBe(setBackFrom);
  clock.watch.madeUp(setBackFrom ?? 0);
  expect(clock.read().setBackFrom).toBe(null);
});

it('takes no slow answer and no clock that is kept right bit by bit for a step', () => {
  const ways = fc.array(fc.tuple(fc.nat(20_000), fc.nat(20_000), fc.nat(1_000), fc.integer({ min: -200, max: 200 })), { maxLength: 30 });
  fc.assert(
    fc.property(ways, (given) => {
      const clock = open();
      for (const [thereMs, backMs, restMs, slewMs] of given) {
        expect(clock.read(thereMs, backMs)).toMatchObject({ steadyMs: Number.MAX_SAFE_INTEGER, setBackFrom: null });
        clock.pass(restMs);
        clock.set(slewMs);
      }
    }),
  );
});

it('sees each step that is larger than its answers take time', () => {
  const steps = fc.integer({ min: -100_000, max: 100_000 }).filter((byMs) => Math.abs(byMs) > 900);
  fc.assert(
    fc.property(steps, fc.nat(300), fc.nat(300), (byMs, thereMs, backMs) => {
      const clock = open();
      clock.read(thereMs, backMs);
      clock.set(byMs);
      const seen = clock.read(thereMs, backMs);
      expect(seen.steadyMs).toBe(0);
      expect(seen.setBackFrom !== null).toBe(byMs < 0);
    }),
  );
});
