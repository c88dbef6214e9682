/** What each commit takes for granted of the rows that it has in hand. All throw {@link BrokenInvariant}, before anything is changed. */
import { BrokenInvariant } from '#core';
import { everyUser, type LedgerChange, type LedgerOperation, type LedgerRow, type LedgerState, type ReservationRow, rowKey } from '#ledger';
import type { Commit } from '#storage/contract';
import type { OpenRun, StoredRun } from '#storage/tables';
import { hasEnded } from './working-runs.ts';

/** A holder that knows more of its run than the row does: the row went back. A row that knows more is news, and fences the holder. */
export function requireFence(row: StoredRun, held: NonNullable<Commit['run']>): void {
  const isAhead = held.epoch > row.epoch;
  if (!isAhead && (held.epoch < row.epoch || held.owner !== row.lease_owner || (held.lastSeq <= row.last_seq && !hasEnded(row)))) return;
  const { tenant_id: tenantId, epoch, last_seq: lastSeq, status } = row;
  const facts = { tenantId, runId: held.runId, epoch, heldEpoch: held.epoch, lastSeq, heldLastSeq: held.lastSeq, status };
  throw new BrokenInvariant(isAhead ? 'run_epoch' : held.lastSeq > lastSeq ? 'journal_sequence' : 'run_ended', facts);
}

/** Events continue the journal where the row says that it ends, also behind those of the same batch. */
export function requireSequence(row: StoredRun, firstSeq: number): void {
  if (firstSeq === row.last_seq + 1) return;
  const { tenant_id: tenantId, run_id: runId, epoch, last_seq: lastSeq } = row;
  throw new BrokenInvariant('journal_sequence', { tenantId, runId, epoch, lastSeq, firstSeq });
}

/** Those that wait for a session, oldest first: none came at the same moment as another. */
export function requireTurns(tenantId: string, sessionId: string, queued: readonly OpenRun[]): void {
  for (let index = 1; index < queued.length; index++) {
    const [one, other] = [queued[index - 1], queued[index]];
    if (one === undefined || other === undefined || one.created_at !== other.created_at) continue;
    throw new BrokenInvariant('session_turns', {
      tenantId,
      sessionId,
      runId: one.run_id,
      otherRunId: other.run_id,
      createdAt: one.created_at,
    });
  }
}

/** What the rules made of the books, held against the books as they were: not by the rules. */
export function requireBooks(tenantId: string, state: LedgerState, operations: readonly LedgerOperation[], change: LedgerChange): void {
  for (const after of change.reservations.values()) {
    const before = state.reservations.get(after.reservationId);
    if (before !== undefined) requireOpen(tenantId, before, after);
  }
  const grants = grantsOf(operations, change);
  for (const [key, row] of change.rows) {
    const { spent, reserved, period } = row;
    const taken = spent + reserved;
    const isAmount = spent >= 0 && reserved >= 0 && Number.isSafeInteger(taken);
    const limit = grants === null && isAmount ? null : limitOver(state, change, row);
    if (isAmount && (limit === null || taken <= limit)) continue;
    const facts = { tenantId, balance: key, period, limit, spent, reserved };
    if (!isAmount) throw new BrokenInvariant('budget_balance', facts);
    const grant = grants?.find(({ rows, amounts }) => (amounts[row.unit] ?? 0) > 0 && rows.includes(key));
    if (grant !== undefined)
      throw new BrokenInvariant('budget_limit', { ...facts, reservationId: grant.reservationId, runId: grant.runId });
  }
}

/** An open reservation says nothing of its end, and one that has ended for good is not touched. */
function requireOpen(tenantId: string, before: ReservationRow, after: ReservationRow): void {
  const { reservationId, runId, state, closedAt, charged } = before;
  if (state === 'open' ? closedAt === null && charged === null : state === 'charged' && after.state !== 'open') return;
  throw new BrokenInvariant('reservation_closed', { tenantId, reservationId, runId, before: state, after: after.state, closedAt });
}

/** New reservations, if any. None where something went beyond what it had reserved, or a limit changed: that may leave a balance above its limit. */
function grantsOf(operations: readonly LedgerOperation[], { outcomes, reservations }: LedgerChange): readonly ReservationRow[] | null {
  let grants: ReservationRow[] | null = null;
  for (let index = 0; index < operations.length; index++) {
    const [operation, outcome] = [operations[index], outcomes[index]];
    if (operation?.type === 'limit' || operation?.type === 'unlimit') return null;
    if (outcome?.type === 'settled' && (outcome.outcome === 'overrun' || outcome.outcome === 'late_usage')) return null;
    if (operation?.type !== 'reserve' || outcome?.type !== 'reserved' || outcome.duplicate) continue;
    const reservation = reservations.get(operation.reservationId);
    if (reservation === undefined) continue;
    grants ??= [];
    grants.push(reservation);
  }
  return grants;
}

function limitOver(state: LedgerState, change: LedgerChange, { limit, inherited, unit, window }: LedgerRow): number | null {
  if (inherited !== true) return limit;
  const key = rowKey(everyUser, unit, window);
  return (change.rows.get(key) ?? state.rows.get(key))?.limit ?? null;
}
