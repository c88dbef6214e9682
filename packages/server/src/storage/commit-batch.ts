import { type BudgetRefusal, terminalStatuses } from '@nexus-agent/protocol';
import { type IdSource, NexusError } from '#core';
import type { LedgerEntry, LedgerOutcome, LedgerRow, LedgerRules, ReservationRow } from './ledger-types.ts';
import { change, databaseNow, insertMany, type Program, selectMany, statement, together, updateMany } from './program.ts';
import {
  approvalToRow,
  decisionToRow,
  entryToRow,
  ledgerRowFromRow,
  ledgerRowKeyOf,
  ledgerRowToRow,
  mutableRunColumns,
  patchToRow,
  reservationFromRow,
  reservationToRow,
  runToRow,
  scopeText,
  scopeTextOfKey,
  sessionToRow,
  storable,
} from './rows.ts';
import { type Row, tables } from './schema.ts';
import type { Commit, CommitResult, StoredEvent } from './types.ts';

export interface BatchContext {
  readonly ledgerRules: LedgerRules;
  readonly ids: IdSource;
  readonly nowMs: number;
}

/** What became of one commit of a batch; `failed` is an error of that commit alone. */
export type BatchResult = CommitResult | { readonly type: 'failed'; readonly error: unknown };

/** Everything that the batch may read or change, loaded under locks; changed in memory, then written set-wise. */
interface Working {
  readonly tenantId: string;
  readonly nowMs: number;
  readonly databaseNowMs: number;
  readonly runs: Map<string, Row<'runs'>>;
  readonly openSessions: ReadonlySet<string>;
  readonly newRuns: Map<string, Row<'runs'>>;
  readonly changedRuns: Set<string>;
  readonly claims: Map<string, Pick<Row<'idempotency_keys'>, 'claim_key' | 'request_hash' | 'resource_id'>>;
  readonly reservations: Map<string, ReservationRow>;
  readonly rows: Map<string, LedgerRow>;
  readonly storedReservations: ReadonlySet<string>;
  readonly storedRows: ReadonlySet<string>;
  readonly changedReservations: Set<string>;
  readonly changedRows: Set<string>;
  readonly inserts: {
    readonly claims: Row<'idempotency_keys'>[];
    readonly sessions: Row<'sessions'>[];
    readonly events: Row<'run_events'>[];
    readonly approvals: Row<'approvals'>[];
    readonly decisions: Row<'policy_decisions'>[];
    readonly entries: Row<'ledger_entries'>[];
  };
  readonly closedApprovals: { approvalId: string; status: string }[];
}

/**
 * Applies commits of one tenant, in order, inside the caller's transaction. Locks are taken in one global order (sessions, runs,
 * reservations, budget rows, each sorted), so that concurrent batches, sweeps and claims cannot deadlock; then each
 * commit is decided in memory, and one that is refused, fenced, a duplicate or fails leaves no trace.
 */
export function* commitBatch(context: BatchContext, commits: readonly Commit[]): Program<readonly BatchResult[]> {
  const work = yield* load(context, commits);
  const results = commits.map((commit): BatchResult => {
    try {
      return decide(context, work, commit);
    } catch (error) {
      return { type: 'failed', error };
    }
  });
  yield* write(work);
  return results;
}

const runColumns = Object.keys(tables.runs) as (keyof Row<'runs'>)[]; // keys of a literal object
const reservationColumns = Object.keys(tables.reservations) as (keyof Row<'reservations'>)[]; // keys of a literal object

function* load(context: BatchContext, commits: readonly Commit[]): Program<Working> {
  const tenantId = commits[0]?.tenantId ?? '';
  const runIds: string[] = [];
  const claimKeys: string[] = [];
  const sessionIds: string[] = [];
  const reservationIds: string[] = [];
  const scopes = new Set<string>();
  let needsDatabaseNow = false;
  for (const commit of commits) {
    if (commit.idempotency) claimKeys.push(commit.idempotency.key);
    if (commit.openSession) sessionIds.push(commit.openSession);
    if (commit.createRun) runIds.push(commit.createRun.runId);
    if (commit.run) runIds.push(commit.run.runId);
    if (commit.wake) runIds.push(...commit.wake);
    needsDatabaseNow ||= (commit.wake?.length ?? 0) > 0 || commit.run?.patch.status === 'waiting';
    for (const operation of commit.ledger ?? []) {
      if (operation.type === 'limit') scopes.add(scopeText(operation.scope));
      else reservationIds.push(operation.reservationId);
      if (operation.type === 'reserve') for (const scope of operation.scopes) scopes.add(scopeText(scope));
    }
  }
  const [claims, sessions, runs, reservationRows] = yield* together([
    selectMany('idempotency_keys', ['claim_key', 'request_hash', 'resource_id'], {
      tenantId,
      key: 'claim_key',
      keys: claimKeys,
      orderBy: ['claim_key'],
      lock: false,
    }),
    selectMany('sessions', ['session_id', 'status'], {
      tenantId,
      key: 'session_id',
      keys: sessionIds,
      orderBy: ['session_id'],
      lock: true,
    }),
    selectMany('runs', runColumns, {
      tenantId,
      key: 'run_id',
      keys: runIds,
      orderBy: ['run_id'],
      lock: true,
    }),
    selectMany('reservations', reservationColumns, {
      tenantId,
      key: 'reservation_id',
      keys: reservationIds,
      orderBy: ['reservation_id'],
      lock: true,
    }),
  ]);
  const reservations = new Map(reservationRows.map((row) => [row.reservation_id, reservationFromRow(row)]));
  for (const reservation of reservations.values()) for (const key of reservation.rows) scopes.add(scopeTextOfKey(key));
  const budgetRows = yield* selectMany('budgets', ['scope', 'unit', 'budget_window', 'period', 'limit_amount', 'spent', 'reserved'], {
    tenantId,
    key: 'scope',
    keys: scopes,
    orderBy: ['scope', 'unit', 'budget_window'],
    lock: true,
  });
  const rows = new Map(budgetRows.map((row) => [ledgerRowKeyOf(row), ledgerRowFromRow(row)]));
  return {
    tenantId,
    nowMs: context.nowMs,
    databaseNowMs: needsDatabaseNow ? yield* databaseNow() : context.nowMs,
    runs: new Map(runs.map((row) => [row.run_id, { ...row }])),
    openSessions: new Set(sessions.flatMap((row) => (row.status === 'active' ? [row.session_id] : []))),
    newRuns: new Map(),
    changedRuns: new Set(),
    claims: new Map(claims.map((row) => [row.claim_key, row])),
    reservations,
    rows,
    storedReservations: new Set(reservations.keys()),
    storedRows: new Set(rows.keys()),
    changedReservations: new Set(),
    changedRows: new Set(),
    inserts: { claims: [], sessions: [], events: [], approvals: [], decisions: [], entries: [] },
    closedApprovals: [],
  };
}

/** Decides one commit. Everything that may throw or refuse happens before the first change of `work`. */
function decide(context: BatchContext, work: Working, commit: Commit): CommitResult {
  const { tenantId, idempotency, createRun } = commit;
  if (tenantId !== work.tenantId) throw new NexusError('internal', 'a batch of commits holds two tenants');
  if (idempotency) {
    const claim = work.claims.get(storable(idempotency.key, 'idempotency key'));
    if (claim) {
      return { type: 'duplicate', resourceId: claim.resource_id, sameRequest: claim.request_hash === idempotency.requestHash };
    }
  }
  if (createRun && work.runs.has(createRun.runId)) return { type: 'duplicate', resourceId: createRun.runId, sameRequest: true };
  if (commit.openSession && !work.openSessions.has(commit.openSession)) return { type: 'closed' };
  const fenced = commit.run && work.runs.get(commit.run.runId);
  if (commit.run) {
    const { epoch, owner, lastSeq } = commit.run;
    if (!fenced || fenced.epoch !== epoch || fenced.lease_owner !== owner || fenced.last_seq !== lastSeq) return { type: 'fenced' };
  }

  const ledger = commit.ledger?.length ? context.ledgerRules(work, commit.ledger, work.nowMs) : undefined;
  const refusal = ledger && refusalOf(ledger.outcomes);
  if (refusal) return { type: 'refused', refusal };
  const outcomes = ledger?.outcomes ?? [];

  const target = createRun ?? commit.run;
  const events = typeof commit.events === 'function' ? commit.events(outcomes) : (commit.events ?? []);
  if (events.length > 0 && !target) throw new NexusError('internal', 'events need a run that they belong to');
  const firstSeq = (target?.lastSeq ?? 0) + 1;
  const stored = events.map(
    (event, index): StoredEvent => ({
      seq: firstSeq + index,
      type: event.type,
      at: work.nowMs,
      data: JSON.stringify(event.data),
    }),
  );
  const lastSeq = firstSeq - 1 + stored.length;
  const prepared = {
    sessions: (commit.sessions ?? []).map(sessionToRow),
    approvals: (commit.approvals ?? []).map(approvalToRow),
    decisions: (commit.decisions ?? []).map((decision) => decisionToRow(tenantId, decision)),
    newRun: createRun && { ...runToRow(createRun), last_seq: lastSeq },
    patch: commit.run && patchToRow(commit.run.patch),
    reservations: [...(ledger?.reservations ?? [])],
    entries: (ledger?.entries ?? []).map((entry: LedgerEntry) => entryToRow(tenantId, context.ids.next('ledgerEntry'), entry, work.nowMs)),
  };

  if (idempotency) claim(work, idempotency);
  work.inserts.sessions.push(...prepared.sessions);
  work.inserts.approvals.push(...prepared.approvals);
  work.inserts.decisions.push(...prepared.decisions);
  work.inserts.entries.push(...prepared.entries);
  if (prepared.newRun) {
    const row = prepared.newRun;
    work.newRuns.set(row.run_id, row);
    settleDueTime(work, row);
    work.runs.set(row.run_id, row);
  }
  if (fenced) {
    Object.assign(fenced, prepared.patch, { updated_at: work.nowMs }, createRun ? {} : { last_seq: lastSeq });
    settleDueTime(work, fenced);
    work.changedRuns.add(fenced.run_id);
  }
  if (target) {
    const runId = target.runId;
    for (const { seq, type, at, data } of stored) work.inserts.events.push({ tenant_id: tenantId, run_id: runId, seq, type, at, data });
  }
  for (const [id, reservation] of prepared.reservations) {
    work.reservations.set(id, reservation);
    work.changedReservations.add(id);
  }
  for (const [key, row] of ledger?.rows ?? []) {
    work.rows.set(key, row);
    work.changedRows.add(key);
  }
  work.closedApprovals.push(...(commit.closeApprovals ?? []));
  for (const runId of commit.wake ?? []) wake(work, runId);
  return { type: 'committed', at: work.nowMs, events: stored, outcomes };
}

function claim(work: Working, idempotency: NonNullable<Commit['idempotency']>): void {
  const row = { claim_key: idempotency.key, request_hash: idempotency.requestHash, resource_id: idempotency.resourceId };
  work.claims.set(idempotency.key, row);
  work.inserts.claims.push({ ...row, tenant_id: work.tenantId, created_at: work.nowMs });
}

const ended: ReadonlySet<string> = new Set(terminalStatuses);

/**
 * Keeps the two indexes that dispatchers read true: only a queued or waiting run has a due time, an ended one has no
 * owner. A run that was woken while it still ran is due as soon as it waits: the wake-up is not lost.
 */
function settleDueTime(work: Working, run: Row<'runs'>): void {
  if (ended.has(run.status)) run.lease_owner = null;
  if (run.status !== 'queued' && run.status !== 'waiting') {
    run.due_at = null;
  } else if (run.woken === 1 || (run.status === 'waiting' && run.cancel_requested !== null)) {
    run.woken = 0;
    run.due_at = Math.min(run.due_at ?? work.databaseNowMs, work.databaseNowMs);
  }
}

function wake(work: Working, runId: string): void {
  const run = work.runs.get(runId);
  if (!run || ended.has(run.status)) return;
  run.woken = 1;
  settleDueTime(work, run);
  work.changedRuns.add(runId);
}

const closeApproval = statement('close_approval', ({ db }, params: { tenant: string; id: string; status: string }) =>
  db
    .updateTable('approvals')
    .set({ status: params.status })
    .where('tenant_id', '=', params.tenant)
    .where('approval_id', '=', params.id)
    .where('status', '=', 'pending'),
);

/** Inserts are sorted by their keys: two transactions that insert the same new keys wait for each other in one order. */
function* write(work: Working): Program<void> {
  const { tenantId, inserts } = work;
  const by =
    <K extends string>(key: K) =>
    (a: Record<K, string>, b: Record<K, string>) =>
      a[key] < b[key] ? -1 : 1;
  for (const { approvalId, status } of work.closedApprovals) yield* change(closeApproval, { tenant: tenantId, id: approvalId, status });
  const changedRuns = changed(work.runs, work.changedRuns, (id) => !work.newRuns.has(id));
  const isStored = (id: string) => work.storedReservations.has(id);
  const isNew = (id: string) => !isStored(id);
  const isStoredRow = (key: string) => work.storedRows.has(key);
  const isNewRow = (key: string) => !isStoredRow(key);
  const toReservation = (row: ReservationRow) => reservationToRow(tenantId, row);
  const toBudget = (row: LedgerRow) => ledgerRowToRow(tenantId, row);
  const writes = [
    insertMany('idempotency_keys', inserts.claims.sort(by('claim_key'))),
    // A session id is random: the same one again is a repeated commit whose first answer was lost.
    insertMany('sessions', inserts.sessions.sort(by('session_id')), 'ignore'),
    insertMany('runs', [...work.newRuns.values()].sort(by('run_id'))),
    updateMany('runs', ['tenant_id', 'run_id'], [...mutableRunColumns], changedRuns),
    insertMany('run_events', inserts.events),
    insertMany('approvals', inserts.approvals.sort(by('approval_id'))),
    insertMany('reservations', changed(work.reservations, work.changedReservations, isNew).map(toReservation).sort(by('reservation_id'))),
    updateMany(
      'reservations',
      ['tenant_id', 'reservation_id'],
      ['state', 'charged', 'closed_at', 'expired'],
      changed(work.reservations, work.changedReservations, isStored).map(toReservation),
    ),
    insertMany('budgets', changed(work.rows, work.changedRows, isNewRow).map(toBudget).sort(byRowKey)),
    updateMany(
      'budgets',
      ['tenant_id', 'scope', 'unit', 'budget_window'],
      ['period', 'limit_amount', 'spent', 'reserved'],
      changed(work.rows, work.changedRows, isStoredRow).map(toBudget),
    ),
    insertMany('ledger_entries', inserts.entries),
    insertMany('policy_decisions', inserts.decisions.sort(by('decision_id'))),
  ];
  yield* together(writes, { last: true });
}

function byRowKey(a: Row<'budgets'>, b: Row<'budgets'>): number {
  return ledgerRowKeyOf(a) < ledgerRowKeyOf(b) ? -1 : 1;
}

function changed<T>(all: ReadonlyMap<string, T>, keys: ReadonlySet<string>, wanted: (key: string) => boolean): T[] {
  const values: T[] = [];
  for (const key of keys) {
    const value = wanted(key) ? all.get(key) : undefined;
    if (value !== undefined) values.push(value);
  }
  return values;
}

function refusalOf(outcomes: readonly LedgerOutcome[]): BudgetRefusal | undefined {
  for (const outcome of outcomes) if (outcome.type === 'refused') return outcome.refusal;
  return undefined;
}
