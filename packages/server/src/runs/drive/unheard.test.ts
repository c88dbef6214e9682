import type { NewEvent, RunId, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { LedgerOutcome } from '#ledger';
import type { RunRow, StoredEvent } from '#storage';
import { type Unheard, whatBecame } from './unheard.ts';

const fence = { tenantId: 'default' as TenantId, runId: 'run_1' as RunId, epoch: 3, owner: 'worker_1' }; // as a store brands them
const eventOf = (step: number): NewEvent => ({ type: 'step.started', data: { step } });
const storedOf = (event: NewEvent, seq: number): StoredEvent => ({
  seq,
  type: event.type,
  at: 1_000 + seq,
  data: JSON.stringify(event.data),
});
const rowOf = (fields: Partial<RunRow>): RunRow =>
  ({ runId: fence.runId, epoch: 3, leaseOwner: 'worker_1', lastSeq: 5, status: 'running', updatedAt: 9, ...fields }) as RunRow; // what is looked at
const outcomes: readonly LedgerOutcome[] = [{ type: 'limited' }];

/** What a worker asks to be written after five events, and what the store may hold afterwards. */
const cases = fc.record({
  events: fc.array(fc.nat(3), { maxLength: 4 }),
  written: fc.boolean(),
  takenOver: fc.boolean(),
  givesUp: fc.boolean(),
});

it('counts as written exactly what this worker wrote at its epoch, with what the ledger had answered', () => {
  fc.assert(
    fc.property(cases, ({ events, written, takenOver, givesUp }) => {
      // Without events only a change of the owner moves the fence: nothing else is looked up.
      fc.pre(events.length > 0 || givesUp);
      const decided = events.map(eventOf);
      const unheard: Unheard = {
        fence,
        lastSeq: 5,
        patch: givesUp ? { leaseOwner: null, status: 'queued' } : {},
        decided: { events: decided, outcomes },
      };
      const row = rowOf({
        lastSeq: 5 + (written ? events.length : 0),
        ...(written && givesUp ? { leaseOwner: null, status: 'queued' as const } : {}),
        ...(takenOver ? { epoch: 4, leaseOwner: 'worker_2' } : {}),
      });
      const found = { row, events: written ? decided.map((event, index) => storedOf(event, 6 + index)) : [] };
      const became = whatBecame(unheard, found);
      if (written && !takenOver) expect(became).toMatchObject({ type: 'committed', events: found.events, outcomes });
      else expect(became).toEqual({ type: 'fenced' });
    }),
  );
});

it('takes nothing for written that another wrote, or that is not there any more', () => {
  const unheard: Unheard = { fence, lastSeq: 5, patch: {}, decided: { events: [eventOf(1), eventOf(2)], outcomes } };
  const both = [storedOf(eventOf(1), 6), storedOf(eventOf(2), 7)];
  const fenced = { type: 'fenced' };
  expect(whatBecame(unheard, { row: rowOf({ lastSeq: 7 }), events: both })).toMatchObject({ type: 'committed', at: 1_007 });
  expect(whatBecame(unheard, { row: null, events: [] })).toEqual(fenced);
  expect(whatBecame({ ...unheard, decided: null }, { row: rowOf({ lastSeq: 7 }), events: both })).toEqual(fenced);
  expect(whatBecame(unheard, { row: rowOf({ lastSeq: 8 }), events: both })).toEqual(fenced);
  expect(whatBecame(unheard, { row: rowOf({ lastSeq: 7 }), events: both.slice(1) })).toEqual(fenced);
  expect(whatBecame(unheard, { row: rowOf({ lastSeq: 7 }), events: [storedOf(eventOf(1), 6), storedOf(eventOf(3), 7)] })).toEqual(fenced);
});
