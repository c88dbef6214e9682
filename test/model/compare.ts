import type { TenantId } from '@nexus-agent/protocol';
import type { ReservationRow } from '../../packages/server/src/ledger/index.ts';
import type { RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { all } from '../support/ledger-invariants.ts';
import { accountName } from './ledger-model.ts';
import type { StoreModel } from './run-model.ts';
import { differencesOf, tableOf } from './tables.ts';

/** Everything of two tenants that anybody can see, row by row: what a store and its model keep differently. */
export async function differencesBetween(
  model: StoreModel,
  store: Store,
  [tenantId, elsewhere]: readonly [TenantId, TenantId],
  now: number,
): Promise<readonly string[]> {
  const { ledger } = model;
  const [budgets, holds, entries, runs, others, approvals, sessions] = await Promise.all([
    all((page) => store.listBudgets(tenantId, {}, now, page)),
    store.listReservations(tenantId, {}),
    all((page) => store.listLedgerEntries(tenantId, {}, page)),
    all((page) => store.listRuns(tenantId, {}, page)),
    all((page) => store.listRuns(elsewhere, {}, page)),
    all((page) => store.listApprovals(tenantId, {}, page)),
    all((page) => store.listSessions(tenantId, page)),
  ]);
  const balances = [...ledger.accounts.values()].map(({ limit, inherited, owned, ...account }) => {
    const period = ledger.currentPeriod({ ...account, limit, inherited, owned }, now);
    const spent = ledger.spent({ ...account, limit, inherited, owned }, period);
    return { ...account, period, limit, inherited, owned, spent, reserved: ledger.reserved(account) };
  });
  return [
    ...differencesOf('balance', tableOf(balances, accountName), tableOf(budgets, accountName)),
    ...differencesOf(
      'reservation',
      tableOf(
        [...ledger.holds.values()].map((hold) => {
          const { scopes: _scopes, ...kept } = hold;
          return whileOpen({ ...kept, rows: ledger.heldIn(hold) });
        }),
        ({ reservationId }) => reservationId,
      ),
      tableOf(
        holds.map(({ scopes: _scopes, subject: _subject, expiresAt: _expiresAt, ...hold }) => whileOpen(hold)),
        ({ reservationId }) => reservationId,
      ),
    ),
    ...differencesOf(
      'entry',
      tableOf(
        ledger.charges.map(({ hold, kind, amounts, day, places }) => ({
          hold,
          kind,
          amounts,
          day,
          places: [...places].map(String).sort(),
        })),
        ({ hold, kind }) => `${kind} of ${hold}`,
      ),
      tableOf(
        entries.map(({ reservationId: hold, kind, amounts, day, rows }) => {
          return { hold, kind, amounts, day, places: rows.map(({ key, period }) => `${key},${period}`).sort() };
        }),
        ({ hold, kind }) => `${kind} of ${hold}`,
      ),
    ),
    ...differencesOf(
      'run',
      tableOf(
        [...model.runs.values()].map(({ row }) => briefly(row)),
        idOfRun,
      ),
      tableOf([...runs, ...others].map(briefly), idOfRun),
    ),
    ...differencesOf(
      'approval',
      tableOf(
        [...model.approvals].map(([id, { status }]) => ({ id, status })),
        ({ id }) => id,
      ),
      tableOf(
        approvals.map(({ approvalId: id, status }) => ({ id, status })),
        ({ id }) => id,
      ),
    ),
    ...differencesOf(
      'session',
      tableOf(
        [...model.sessions].map(([id, status]) => ({ id, status })),
        ({ id }) => id,
      ),
      tableOf(
        sessions.map(({ sessionId: id, status }) => ({ id, status })),
        ({ id }) => id,
      ),
    ),
  ];
}

/** What a reservation holds, where, and for how long is of no interest any more once it is closed. */
function whileOpen<T extends Pick<ReservationRow, 'state' | 'rows'> & { readonly bound?: unknown; readonly wallUntil?: unknown }>(hold: T) {
  const { rows, bound, wallUntil, ...kept } = hold;
  if (hold.state !== 'open') return kept;
  return { ...kept, rows: [...rows].sort(), bound, wallUntil };
}

const idOfRun = ({ runId }: { readonly runId: string }) => runId;

/** What of a run anybody can see. */
function briefly({ runId, status, waiting, step, lastSeq, output, error, resumable, epoch, leaseOwner, dueAt, ...row }: RunRow) {
  const { cancelRequested, createdAt, updatedAt } = row;
  return {
    runId,
    status,
    waiting,
    step,
    lastSeq,
    output,
    error,
    resumable,
    epoch,
    leaseOwner,
    dueAt,
    cancelRequested,
    createdAt,
    updatedAt,
  };
}
