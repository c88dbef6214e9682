import type { BudgetAmounts } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import { AttemptBound } from './attempt-bound.ts';
import type { ModelAttempt } from './model-attempt.ts';

function open({ maxTokens = 10_000, aheadTokens = 500, writeMs = 1 } = {}) {
  const time = createManualTime();
  const written: BudgetAmounts[] = [];
  const leaving = new AbortController();
  let isOpen = true;
  let isAway = false;
  const bound = new AttemptBound({
    ...time,
    // what is read of an attempt
    attempt: {
      reserve: {
        reservationId: 'r',
        fixed: { tokens: 100, costMicroUsd: 10 },
        tokens: { min: 1, max: maxTokens, costMicroUsdPerMillion: 2_000_000 },
      },
    } as unknown as ModelAttempt,
    grant: { maxTokens, wallMs: 60_000 },
    signal: leaving.signal,
    record: {
      aheadTokens,
      async write(_id, atMost) {
        await time.timers.sleep(writeMs);
        if (isAway) throw new Error('the store is away');
        if (isOpen) written.push(atMost);
        return isOpen;
      },
    },
  });
  /** Tokens come at a pace; answers whether more may be read, or null while it has to wait. */
  const come = async (tokens: number, afterMs = 100) => {
    await time.advance(afterMs);
    let goes: boolean | null = null;
    void Promise.resolve(bound.came(tokens)).then((may) => {
      goes = may;
    });
    await time.advance(0);
    return { goes: () => goes };
  };
  const change = (to: { isOpen?: boolean; isAway?: boolean }) => {
    isOpen = to.isOpen ?? isOpen;
    isAway = to.isAway ?? isAway;
  };
  return { time, bound, written, leaving, come, change };
}

it('is written once the answer comes bit by bit, and raised when half of it is used up [verifies budget.kill.bounded]', async () => {
  const { come, written, bound } = open();
  await come(40);
  expect(written).toEqual([]);
  for (const tokens of [80, 160, 240, 300]) expect((await come(tokens)).goes()).toBe(true);
  expect(written).toEqual([{ tokens: 680, costMicroUsd: 1_170 }]);
  expect(bound.limit).toBe(580);
  await come(340);
  await come(360);
  expect(written.map(({ tokens }) => tokens)).toEqual([680, 940]);
});

it('is not written for an answer that comes in one piece, is short, or may be used up anyhow', async () => {
  const { come, written } = open();
  await come(4_000);
  await come(8_000, 1);
  expect(written).toEqual([]);
  const small = open({ maxTokens: 500 });
  for (const tokens of [40, 80, 120]) await small.come(tokens);
  expect(small.written).toEqual([]);
});

it('is the whole grant for an answer that uses it up, or is counted as more', async () => {
  const { come, written } = open({ maxTokens: 1_000 });
  for (const tokens of [40, 80, 350, 500, 800, 999, 1_300, 1_700]) expect((await come(tokens)).goes()).toBe(true);
  expect(written.map(({ tokens }) => tokens)).toEqual([680, 990, 1_100]);
});

it('lies further ahead of a server that sends in bursts', async () => {
  const { come, written, time } = open();
  await come(1_000);
  await come(2_000);
  await time.advance(5);
  expect(written).toEqual([{ tokens: 100 + 2_000 + 2_000, costMicroUsd: 10 + 8_000 }]);
});

it('lets nothing be read beyond what is on record, while the store is away, too', async () => {
  const { come, change, time, bound } = open({ aheadTokens: 100 });
  await come(40);
  await come(80);
  change({ isAway: true });
  expect((await come(150)).goes()).toBe(true);
  const waits = await come(190);
  await time.advance(5_000);
  expect(waits.goes()).toBeNull();
  expect(bound.limit).toBe(180);
  change({ isAway: false });
  await time.advance(2_000);
  expect(waits.goes()).toBe(true);
});

it('ends an attempt whose reservation is closed, and the wait of one that is told to stop', async () => {
  const { come, change } = open({ aheadTokens: 100 });
  await come(40);
  await come(80);
  change({ isOpen: false });
  await come(150);
  expect((await come(160)).goes()).toBe(false);
  const stopping = open({ aheadTokens: 100 });
  await stopping.come(40);
  await stopping.come(80);
  stopping.change({ isAway: true });
  const waits = await stopping.come(300);
  stopping.leaving.abort();
  await stopping.time.advance(0);
  expect(waits.goes()).toBe(true);
  await stopping.time.advance(2_000);
  expect(stopping.time.pending).toBe(0);
});

it('never falls below what has been read and may be on its way, wherever it is killed', async () => {
  const pieces = fc.array(fc.record({ more: fc.integer({ min: 32, max: 90 }), afterMs: fc.integer({ min: 1, max: 400 }) }), {
    maxLength: 60,
  });
  await fc.assert(
    fc.asyncProperty(pieces, fc.integer({ min: 1, max: 300 }), async (came, writeMs) => {
      const { come, written, time } = open({ aheadTokens: 200, maxTokens: 4_000, writeMs });
      let tokens = 0;
      for (const { more, afterMs } of came) {
        tokens += more;
        const { goes } = await come(tokens, afterMs);
        // Another may have been killed here, with what the record says now.
        const onRecord = (written.at(-1)?.tokens ?? 4_100) - 100;
        if (goes() === true) expect(onRecord).toBeGreaterThanOrEqual(Math.min(4_000, tokens));
        for (let waited = 0; goes() === null && waited < 20; waited++) await time.advance(100);
        expect(goes()).toBe(true);
      }
    }),
    { numRuns: 40 },
  );
});
