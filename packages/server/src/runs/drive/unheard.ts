import type { NewEvent } from '@nexus-agent/protocol';
import type { LedgerOutcome } from '#ledger';
import type { RunFence } from '#runs/steps';
import type { CommitResult, RunPatch, RunRow, StoredEvent } from '#storage';

/** A change of a run that the store was asked to write, and did not answer. */
export interface Unheard {
  readonly fence: RunFence;
  /** Length of the journal before it. */
  readonly lastSeq: number;
  readonly patch: RunPatch;
  /**
   * What was to be written the last time that the store found the fence as it had to be. Earlier attempts have then not been written,
   * and cannot be any more: the run was locked. Null: it never came so far.
   */
  readonly decided: { readonly events: readonly NewEvent[]; readonly outcomes: readonly LedgerOutcome[] } | null;
}

/** What the store holds of the run now: its row, and the events after `lastSeq`. */
export interface Found {
  readonly row: RunRow | null;
  readonly events: readonly StoredEvent[];
}

/**
 * What became of a change that was repeated behind its fence and is now told that the fence has moved. At one epoch only one worker
 * writes, one change after the other: if the run is still at ours, it was this change that moved it.
 */
export function whatBecame({ fence, lastSeq, patch, decided }: Unheard, { row, events }: Found): CommitResult {
  if (decided === null || row === null || row.epoch !== fence.epoch) return { type: 'fenced' };
  const isWritten = decided.events.length === 0 ? isGivenUp(patch, row, lastSeq) : isSame(decided.events, events, row.lastSeq - lastSeq);
  if (!isWritten) return { type: 'fenced' };
  return { type: 'committed', at: events.at(-1)?.at ?? row.updatedAt, events, outcomes: decided.outcomes };
}

/** Without events the fence moves by the owner alone. */
function isGivenUp(patch: RunPatch, row: RunRow, lastSeq: number): boolean {
  return patch.leaseOwner === null && row.leaseOwner === null && row.lastSeq === lastSeq && row.status === patch.status;
}

function isSame(wanted: readonly NewEvent[], found: readonly StoredEvent[], added: number): boolean {
  return (
    added === wanted.length &&
    found.length === wanted.length &&
    wanted.every(({ type, data }, index) => found[index]?.type === type && found[index].data === JSON.stringify(data))
  );
}
