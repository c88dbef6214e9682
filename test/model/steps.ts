import { BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import fc from 'fast-check';

/** What may happen next, in numbers that stand for whatever is there by then: so a sequence stays one when steps are left out of it. */
const scope = fc.constantFrom('tenant', 'project', 'agent', 'user', 'user:*', 'session', 'run');
const unit = fc.constantFrom<BudgetUnit>('tokens', 'tokens', 'tokens', ...BudgetUnit.options);
const window = fc.constantFrom<BudgetWindow>(...BudgetWindow.options);
const slow = fc.constantFrom(false, false, false, true);
const at = fc.nat(7);
const amount = fc.integer({ min: 0, max: 60 });

const limit = fc.record({
  do: fc.constant('limit' as const),
  ...{ scope, at, unit, window, slow },
  limit: fc.option(fc.integer({ min: 0, max: 200 }), { freq: 5 }),
  byOwner: fc.constantFrom(false, false, false, true),
});
const unlimit = fc.record({ do: fc.constant('unlimit' as const), ...{ scope, at, unit, window, slow }, byOwner: fc.boolean() });
const reserve = fc.record({
  do: fc.constant('reserve' as const),
  ...{ at, slow },
  calls: fc.nat(2),
  min: fc.integer({ min: 1, max: 20 }),
  more: amount,
  price: fc.constantFrom(0, 1_000_000, 2_500_000),
  wallMs: fc.option(fc.integer({ min: 1, max: 50 })),
  whole: fc.boolean(),
  isBeside: fc.boolean(),
});
const close = fc.record({
  do: fc.constantFrom('settle' as const, 'settle' as const, 'release' as const, 'charge' as const, 'bound' as const),
  ...{ at: fc.nat(20), amount, slow },
  heir: fc.boolean(),
});
const start = fc.record({
  do: fc.constant('start' as const),
  ...{ at: fc.nat(1), worker: fc.nat(2) },
  whileBusy: fc.constantFrom('wait' as const, 'wait' as const, 'refuse' as const, 'begin' as const, 'interrupt' as const),
  here: fc.boolean(),
  limit: fc.option(fc.integer({ min: 1, max: 90 })),
  keyed: fc.boolean(),
});
const drive = fc.record({
  do: fc.constant('drive' as const),
  at: fc.nat(5),
  what: fc.constantFrom('say', 'say', 'call', 'call', 'result', 'ask', 'fail', 'fail for good', 'cancelled', 'hand over', 'child'),
  stale: fc.constantFrom('', '', '', '', '', '', 'epoch', 'owner', 'length'),
});
const ledger = fc.oneof({ weight: 3, arbitrary: limit }, unlimit, { weight: 6, arbitrary: reserve }, { weight: 5, arbitrary: close });
/** Steps that are a commit each, or two. */
const committing = fc.oneof({ weight: 3, arbitrary: start }, { weight: 6, arbitrary: drive }, { weight: 2, arbitrary: ledger });
const together = (steps: fc.Arbitrary<CommitStep>) =>
  fc.record({ do: fc.constant('together' as const), steps: fc.array(steps, { minLength: 2, maxLength: 5 }) });
const clock = fc.record({
  do: fc.constant('clock' as const),
  ms: fc.constantFrom(1, 10, 1_000, 30_000, 61_000, 61_000, 2_000_000, 10_800_000, 90_000_000),
});
const simple = <T extends string>(...names: T[]) => fc.record({ do: fc.constantFrom(...names), at });
const queue = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('claim' as const), worker: fc.nat(2), limit: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('suspect' as const), worker: fc.nat(2), isAlone: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('heartbeat' as const), worker: fc.nat(2), ms: fc.constantFrom(60_000, 20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('retire' as const), worker: fc.nat(2) }) },
  { weight: 1, arbitrary: simple('enqueue elsewhere') },
  { weight: 6, arbitrary: simple('answer', 'cancel', 'resume', 'resume', 'wake', 'close', 'remove') },
);

export type CommitStep = typeof committing extends fc.Arbitrary<infer T> ? T : never;
type Group = ReturnType<typeof together> extends fc.Arbitrary<infer T> ? T : never;
type Other<A> = A extends fc.Arbitrary<infer T> ? T : never;
export type Step = CommitStep | Group | Other<typeof clock> | Other<typeof queue> | Other<typeof repeat> | Other<typeof fold>;

const repeat = fc.record({ do: fc.constant('repeat' as const) });
const fold = fc.record({ do: fc.constant('fold' as const) });

const length = { minLength: 4, maxLength: 45, size: 'max' as const };

/** Budgets above all: limits that come and go amid work, by clocks that differ. */
export const ledgerSteps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 14, arbitrary: ledger },
    { weight: 2, arbitrary: together(ledger) },
    { weight: 3, arbitrary: clock },
    { weight: 1, arbitrary: repeat },
    { weight: 1, arbitrary: fold },
  ),
  length,
);

/** Runs and sessions above all, with what they pay. */
export const runSteps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: committing },
    { weight: 2, arbitrary: together(committing) },
    { weight: 8, arbitrary: queue },
    { weight: 2, arbitrary: clock },
    { weight: 1, arbitrary: repeat },
  ),
  length,
);
