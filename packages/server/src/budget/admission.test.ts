import { type BudgetScope, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import { type LedgerOperation, type LedgerRow, ledgerRules, type ReservationRow } from '#ledger';
import type { Commit, CommitResult, CommitStore } from '#storage';
import { createAdmission, inTurn, limitOperations, needsOf } from './index.ts';

const tenantId = TenantId.parse('acme');
const user: BudgetScope = { kind: 'user', id: 'u' };
const other: BudgetScope = { kind: 'user', id: 'v' };

/** A ledger whose commits take a moment, as those of a database do; and callers that line up before it. */
function open({ limit = 100, waitForReservedMs = 10_000 } = {}) {
  const time = createManualTime();
  const rows = new Map<string, LedgerRow>();
  const reservations = new Map<string, ReservationRow>();
  let most = 0;
  const book = (ledger: readonly LedgerOperation[]) => {
    const change = ledgerRules({ rows, reservations }, ledger, 0);
    for (const [key, row] of change.rows) rows.set(key, row);
    for (const [id, reservation] of change.reservations) reservations.set(id, reservation);
    for (const row of rows.values()) if (row.limit !== null) most = Math.max(most, row.spent + row.reserved - row.limit);
    return change.outcomes;
  };
  for (const scope of [user, other]) book(limitOperations(scope, { tokens: limit }));
  let asked = 0;
  const database: CommitStore = {
    async commit({ ledger = [] }: Commit): Promise<CommitResult> {
      asked += 1;
      const outcomes = book(ledger);
      const refused = outcomes.find((outcome) => outcome.type === 'refused');
      // Answers come in another order than what was decided.
      await time.timers.sleep(refused === undefined ? 1 : 4);
      return refused ?? { type: 'committed', at: 0, events: [], outcomes };
    },
  };
  const admission = createAdmission({ ...time, settings: { waitForReservedMs, pollReservedMs: 500 } });
  const store = admission.observe(database);
  let ids = 0;

  /** As a model call does: for all that it could use, and in the end for less. Nothing of it is used. */
  async function takeAll(tokens: number) {
    const reservationId = `r${ids++}`;
    const range = { min: 1, max: tokens, costMicroUsdPerMillion: 0 };
    const reserve = (whole: boolean) =>
      ({ type: 'reserve', reservationId, runId: null, scopes: [user], fixed: {}, tokens: range, whole, expiresAt: 0 }) as const;
    const { answer } = await inTurn(
      admission,
      { tenantId, needs: needsOf(reserve(true)) },
      ({ isLast }) => store.commit({ tenantId, ledger: [reserve(!isLast)] }),
      (given) => (given.type === 'refused' ? given : null),
    );
    if (answer.type === 'committed') await store.commit({ tenantId, ledger: [{ type: 'release', reservationId }] });
  }

  /** Asks in turn; answers with what ends it again, or how long it waited to be refused. */
  async function take(
    tokens: number,
    { scopes = [user], signal, atMostMs }: { scopes?: readonly BudgetScope[]; signal?: AbortSignal; atMostMs?: number } = {},
  ) {
    const reservationId = `r${ids++}`;
    const reserve = { type: 'reserve', reservationId, runId: null, scopes, fixed: { tokens }, expiresAt: 0 } as const;
    const { answer, waitedMs } = await inTurn(
      admission,
      { tenantId, needs: needsOf(reserve), signal, atMostMs },
      () => store.commit({ tenantId, ledger: [reserve] }),
      (given) => (given.type === 'refused' ? given : null),
    );
    const settle: LedgerOperation = { type: 'settle', reservationId, actual: { tokens: Math.ceil(tokens / 10) } };
    return {
      waitedMs,
      granted: answer.type === 'committed',
      refusal: answer.type === 'refused' ? answer : null,
      settle: () => store.commit({ tenantId, ledger: [settle] }),
      /** The sweeper's work, by another process, once it has expired. */
      expireElsewhere: (atMost: number) =>
        book([
          { type: 'bound', reservationId, atMost: { tokens: atMost } },
          { type: 'charge', reservationId },
        ]),
      /** By another process: nobody here hears of it. */
      settleElsewhere: () => book([settle]),
    };
  }
  return { time, take, takeAll, admission, asked: () => asked, overspent: () => most };
}

/** What came of calls so far, in the order in which it came. */
function watch() {
  const came: string[] = [];
  const note = (name: string, call: ReturnType<ReturnType<typeof open>['take']>) => {
    void call.then(({ granted }) => came.push(granted ? name : `no ${name}`));
    return call;
  };
  return { came, note };
}

it('lets calls of one size go in the order in which they came [verifies budget.admission.waits]', async () => {
  const { time, take } = open();
  const { came, note } = watch();
  const first = note('first', take(60));
  await time.advance(5);
  const second = note('second', take(50));
  await time.advance(5);
  const third = note('third', take(50));
  await time.advance(5);
  void (await first).settle();
  await time.advance(5);
  expect(came).toEqual(['first', 'second']);
  void (await second).settle();
  await time.advance(5);
  expect((await third).waitedMs).toBeGreaterThan(0);
  expect(came).toEqual(['first', 'second', 'third']);
});

it('lets what fits pass a large one that waits, until that has waited for half of its time [verifies budget.admission.passes]', async () => {
  const { time, take } = open({ waitForReservedMs: 10_000 });
  const { came, note } = watch();
  const first = note('first', take(60));
  await time.advance(5);
  const large = note('large', take(90));
  await time.advance(5);
  note('small', take(20));
  const medium = note('medium', take(30));
  note('tiny', take(1));
  await time.advance(50);
  expect(came).toEqual(['first', 'small', 'tiny']);
  await time.advance(5_000);
  note('late', take(2));
  await time.advance(50);
  expect(came).toHaveLength(3);
  void (await first).settle(); // 21 held and 6 spent: neither of those that wait for 90 and 30 is alone in this
  await time.advance(50);
  expect(came).toEqual(['first', 'small', 'tiny']);
  await time.advance(5_000);
  expect(came.slice(3).toSorted()).toEqual(['late', 'medium', 'no large']);
  expect(await large).toMatchObject({ granted: false, waitedMs: 10_004 });
  expect((await medium).waitedMs).toBeGreaterThan(9_900);
});

it('asks for those behind a large one only where they may fit, and once to learn what they want', async () => {
  const { time, take, asked } = open({ waitForReservedMs: 10_000 });
  const first = take(60);
  await time.advance(5);
  void take(95);
  await time.advance(5);
  for (let place = 0; place < 20; place++) void take(50);
  await time.advance(450);
  expect(asked()).toBe(22);
  await time.advance(2_000);
  expect(asked()).toBe(26); // the first one, twice a second
  (await first).settleElsewhere();
  await time.advance(3_000);
  expect(asked()).toBeLessThanOrEqual(36);
});

it('gives the first one its turn although the one that has it does not ask', async () => {
  const { time, take, admission } = open();
  const first = take(60);
  await time.advance(5);
  const large = take(90);
  await time.advance(10);
  const idle = admission.join(tenantId, () => undefined);
  expect(idle.mayAsk([{ scope: user, unit: 'tokens' }])).toBe(true);
  (await first).settleElsewhere();
  await time.advance(1_510);
  expect((await large).granted).toBe(true);
  idle.close();
});

it('refuses at once what the budget has no more, and what needs nothing of the kind does not wait', async () => {
  const { time, take } = open();
  const { came, note } = watch();
  note('first', take(60));
  await time.advance(5);
  note('waits', take(90));
  note('elsewhere', take(90, { scopes: [other] }));
  await time.advance(5);
  expect(came).toEqual(['first', 'elsewhere']);
  const { time: later, take: again } = open();
  const refused = again(101);
  await later.advance(5);
  expect(await refused).toMatchObject({ granted: false, waitedMs: 0 });
});

it('ends every wait, and says how long it was', async () => {
  const { time, take } = open({ waitForReservedMs: 3_000 });
  const first = take(60);
  await time.advance(5);
  const second = take(90);
  await time.advance(1_000);
  const third = take(90);
  const hurried = take(90, { atMostMs: 500 });
  await time.advance(2_050);
  expect(await hurried).toMatchObject({ granted: false, waitedMs: 504 });
  expect(await second).toMatchObject({ granted: false, waitedMs: 3_004 });
  await time.advance(1_000);
  expect(await third).toMatchObject({ granted: false, waitedMs: 3_004 });
  expect((await first).granted).toBe(true);
  expect(time.pending).toBe(0);
});

it('hears of what another process gives back, without asking for each that waits', async () => {
  const { time, take, asked } = open();
  const first = take(60);
  await time.advance(5);
  const waiting = [take(90)];
  await time.advance(5);
  waiting.push(take(45), take(46));
  await time.advance(2_000);
  const before = asked();
  expect(before).toBeLessThan(10);
  (await first).settleElsewhere();
  await time.advance(510);
  expect((await waiting[0])?.granted).toBe(true);
});

it('does not miss what comes free while the ledger is asked', async () => {
  const { time, take, asked } = open();
  const first = await Promise.all([take(60), time.advance(5)]).then(([call]) => call);
  const second = take(90);
  // It is refused within this moment, and hears of it when the money is free already.
  void first.settle();
  await time.advance(10);
  expect((await second).granted).toBe(true);
  expect(asked()).toBeLessThanOrEqual(4);
});

it('leaves the line to the others when its caller goes or everything ends', async () => {
  const { time, take, admission } = open();
  const first = take(60);
  await time.advance(5);
  const leaving = new AbortController();
  const left = take(90, { signal: leaving.signal });
  const behind = take(40);
  const last = take(41);
  await time.advance(5);
  leaving.abort(new Error('gone'));
  await expect(left).rejects.toMatchObject({ code: 'cancelled' });
  await time.advance(5);
  expect((await behind).granted).toBe(true);
  admission.close();
  await time.advance(5);
  expect((await last).granted).toBe(false);
  expect((await first).granted).toBe(true);
  const late = take(90);
  await time.advance(5);
  expect(await late).toMatchObject({ granted: false, waitedMs: 0 });
  expect(time.pending).toBe(0);
});

it('hears of a reservation that expired elsewhere, and is told of what is spent apart from what is held [verifies budget.admission.expiry budget.admission.contended]', async () => {
  const { time, take } = open({ waitForReservedMs: 3_000 });
  const dead = await Promise.all([take(70), time.advance(5)]).then(([call]) => call);
  const [fits, none] = [take(60), take(95)];
  await time.advance(1_000);
  dead.expireElsewhere(10);
  await time.advance(600);
  const granted = await fits;
  expect(granted.granted).toBe(true);
  expect(granted.waitedMs).toBeLessThan(1_700);
  // 10 are spent by now: of 95 it is known that they can never be had, although others hold the rest.
  expect((await none).refusal).toMatchObject({ refusal: { available: 30, reserved: 60, asked: 95 } });
  expect((await none).refusal).not.toHaveProperty('held');
  expect((await none).waitedMs).toBeLessThan(1_700);
  const late = take(80);
  await time.advance(3_100);
  expect((await late).refusal).toMatchObject({ held: true, refusal: { available: 30, reserved: 60, asked: 80 } });
});

it('does not hold small ones behind a large one that can never be granted [verifies budget.admission.passes]', async () => {
  const { time, take } = open({ waitForReservedMs: 10_000 });
  const { came, note } = watch();
  const first = await Promise.all([take(60), time.advance(5)]).then(([call]) => call);
  const large = note('large', take(97));
  note('small', take(41));
  await time.advance(7_000); // it is patient, and nobody goes before it
  expect(came).toEqual([]);
  void first.settle(); // 6 are spent: 97 are more than there can be
  await time.advance(20);
  expect(came).toEqual(['no large', 'small']);
  expect((await large).refusal).not.toHaveProperty('held');
});

it('grants a large one in the end, whatever small ones come and go meanwhile [verifies budget.admission.passes]', async () => {
  const { time, take } = open({ limit: 1_000, waitForReservedMs: 10_000 });
  let ends = false;
  const stream = async () => {
    while (!ends) {
      const call = await take(10);
      await time.timers.sleep(300);
      if (call.granted) await call.settle();
    }
  };
  // They hold most of the limit at any moment, and spend little of it.
  const small = Array.from({ length: 60 }, () => stream());
  await time.advance(500);
  const large = take(700);
  for (let round = 0; round < 90; round++) await time.advance(100);
  expect(await Promise.race([large, Promise.resolve(null)])).toMatchObject({ granted: true });
  ends = true;
  for (let round = 0; round < 20; round++) await time.advance(1_000);
  await Promise.all(small);
  expect(time.pending).toBe(0);
});

it('does not let a few who want all of a limit keep others from the little that they need [verifies hostile.shares.admission]', async () => {
  const { time, take, takeAll } = open({ limit: 1_000, waitForReservedMs: 10_000 });
  // Somebody holds next to nothing, for long: so all of it cannot be had.
  await Promise.all([take(1), time.advance(5)]);
  let ends = false;
  const greedy = Array.from({ length: 6 }, async (_, at) => {
    await time.timers.sleep(at * 1_500);
    while (!ends) await takeAll(1_000);
  });
  await time.advance(20_000);
  const waits: number[] = [];
  for (let at = 0; at < 60; at++) {
    void take(10).then(async ({ waitedMs, granted, settle }) => {
      waits.push(granted ? waitedMs : Number.POSITIVE_INFINITY);
      await settle();
    });
    for (let step = 0; step < 13; step++) await time.advance(100);
  }
  ends = true;
  for (let step = 0; step < 400; step++) await time.advance(100);
  await Promise.all(greedy);
  expect(waits).toHaveLength(60);
  expect(waits.filter((ms) => ms > 500).length).toBeLessThanOrEqual(20);
  expect(Math.max(...waits)).toBeLessThan(6_000);
  expect(time.pending).toBe(0);
});

it('overspends nothing and leaves nobody behind, whatever comes and goes', async () => {
  const call = fc.record({
    tokens: fc.integer({ min: 1, max: 110 }),
    scopes: fc.subarray([user, other], { minLength: 1 }),
    afterMs: fc.nat(300),
    worksMs: fc.nat(2_000),
    leavesMs: fc.option(fc.nat(4_000), { freq: 6 }),
    elsewhere: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 2, maxLength: 25 }), async (calls) => {
      const { time, take, overspent } = open({ waitForReservedMs: 4_000 });
      let ended = 0;
      const all = calls.map(async ({ tokens, scopes, afterMs, worksMs, leavesMs, elsewhere }) => {
        await time.timers.sleep(afterMs);
        const leaving = new AbortController();
        const cancel = leavesMs === null ? () => undefined : time.timers.after(leavesMs, () => leaving.abort());
        try {
          const taken = await take(tokens, { scopes, signal: leaving.signal });
          expect(taken.waitedMs).toBeLessThanOrEqual(4_050);
          if (!taken.granted) return;
          await time.timers.sleep(worksMs);
          if (elsewhere) taken.settleElsewhere();
          else await taken.settle();
        } catch (error) {
          if (!leaving.signal.aborted) throw error;
        } finally {
          cancel();
          ended += 1;
        }
      });
      for (let round = 0; ended < calls.length && round < 200; round++) await time.advance(100);
      await Promise.all(all);
      expect(overspent()).toBe(0);
      expect(time.pending).toBe(0);
    }),
    { numRuns: 40 },
  );
});
