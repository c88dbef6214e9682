import type { NewEvent, RunId, SessionId } from '@nexus-agent/protocol';
import type { Commit, CommitResult, RunRow } from '../../packages/server/src/storage/index.ts';
import { LedgerModel } from './ledger-model.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
/** `app`: by the clock of whoever commits. `db`: by that of the database, which all compare due times and leases with. */
export interface Times {
  readonly app: number;
  readonly db: number;
}
export interface ModelRun {
  readonly row: Mutable<RunRow>;
  /** Somebody has news for it that it may have missed. */
  woken: boolean;
  /** Workers that died with it since a call of it had an outcome. */
  deaths: number;
  /** Whether it is tried alone or beside others, and whether its worker died of that. */
  trial: 'none' | 'alone' | 'beside' | 'died alone' | 'died beside';
  readonly events: NewEvent[];
}
/** `verdict`: what its death was put down to by whoever looked first. */
type Worker = { expiresAt: number; leaseMs: number; verdict: 'what it tried' | 'unknown' | null };

/** Deaths after which a run is driven by itself. */
const suspicious = 2;
const clockToleranceMs = 1_000;
export const isEnded = ({ row }: ModelRun) => row.status === 'completed' || row.status === 'failed' || row.status === 'cancelled';
const isTried = ({ deaths, trial }: ModelRun) => deaths >= suspicious && (trial === 'alone' || trial === 'beside');
const isBehind = ({ row }: ModelRun) => row.status === 'queued' && row.waiting !== null;
const isOwn = ({ row }: ModelRun) => row.parentRunId === null;
const waitsForAgent = ({ row }: ModelRun) => row.status === 'waiting' && row.waiting?.reason === 'child';
const inLog = (one: ModelRun, other: ModelRun) => one.row.createdAt - other.row.createdAt || (one.row.runId < other.row.runId ? -1 : 1);

/** What a store answers and keeps, by its contract: plain rows that change one commit after the other. */
export class StoreModel {
  readonly ledger = new LedgerModel();
  readonly runs = new Map<string, ModelRun>();
  readonly sessions = new Map<string, 'active' | 'closed'>();
  readonly approvals = new Map<string, { readonly runId: string; status: string }>();
  readonly workers = new Map<string, Worker>();
  readonly #claims = new Map<string, { readonly hash: string; readonly resourceId: string }>();

  run(runId: string): ModelRun {
    const run = this.runs.get(runId);
    if (run === undefined) throw new Error(`the model has no run ${runId}`);
    return run;
  }
  log(sessionId: string): readonly ModelRun[] {
    return [...this.runs.values()].filter((run) => run.row.sessionId === sessionId).sort(inLog);
  }

  commit(commit: Commit, at: Times): CommitResult {
    const { idempotency, createRun, openSession, place, run: fence, ledger = [], wake = [], leaves } = commit;
    const claim = idempotency && this.#claims.get(idempotency.key);
    if (claim) return { type: 'duplicate', resourceId: claim.resourceId, sameRequest: claim.hash === idempotency.requestHash };
    if (createRun && this.runs.has(createRun.runId)) return { type: 'duplicate', resourceId: createRun.runId, sameRequest: true };
    if (openSession && this.sessions.get(openSession) !== 'active') return { type: 'closed' };
    const log = openSession ? this.log(openSession) : [];
    const open = place?.whileBusy === 'begin' ? [] : log.filter((run) => !isEnded(run));
    const isBusy = open.some((run) => this.isAtWork(run, at) || isBehind(run));
    const ahead = open.filter((run) => isOwn(run) && (this.isAtWork(run, at) || isBehind(run) || waitsForAgent(run)));
    const last = (isBusy && ahead.at(-1)?.row.runId) || null;
    const newest = log.filter(isOwn).at(-1);
    if (place && last !== null && place.whileBusy === 'refuse') return { type: 'busy', runId: last };
    if (place?.after !== undefined && place.after !== (newest?.row.runId ?? null)) return { type: 'moved' };
    const held = fence && this.runs.get(fence.runId);
    if (fence && (held?.row.epoch !== fence.epoch || held.row.leaseOwner !== fence.owner || held.row.lastSeq !== fence.lastSeq))
      return { type: 'fenced' };
    const outcomes = ledger.length > 0 ? this.ledger.apply(ledger, at.app) : [];
    if ('type' in outcomes) return outcomes;

    if (idempotency) this.#claims.set(idempotency.key, { hash: idempotency.requestHash, resourceId: idempotency.resourceId });
    for (const { sessionId, status } of commit.sessions ?? []) if (!this.sessions.has(sessionId)) this.sessions.set(sessionId, status);
    let placed: Extract<CommitResult, { type: 'committed' }>['placed'];
    if (createRun) {
      const createdAt = place && newest ? Math.max(createRun.createdAt, newest.row.createdAt + 1) : createRun.createdAt;
      const behind = place ? last : null;
      const made: ModelRun = { row: { ...createRun, createdAt }, woken: false, deaths: 0, trial: 'none', events: [] };
      if (place && behind !== null)
        Object.assign(made.row, { dueAt: place.waitUntil ?? null, waiting: { reason: 'session', behind: behind as RunId } });
      this.runs.set(createRun.runId, made);
      const reason = typeof place?.whileBusy === 'object' ? place.whileBusy.interrupt : null;
      const stopped = behind === null || reason === null ? [] : ahead.filter((run) => !isBehind(run));
      if (place) placed = { createdAt, behind: behind as RunId | null, interrupted: stopped.map(({ row }) => row.runId) };
      for (const run of stopped) this.#cancel(run, reason ?? '', at);
      this.#settle(made, at);
    }
    const target = createRun ? this.run(createRun.runId) : held;
    if (fence && held) Object.assign(held.row, fence.patch, { updatedAt: at.app });
    const events = typeof commit.events === 'function' ? commit.events(outcomes) : (commit.events ?? []);
    const stored = events.map((event, index) => ({ seq: (target?.row.lastSeq ?? 0) + 1 + index, type: event.type }));
    if (target) {
      target.row.lastSeq += events.length;
      target.events.push(...events);
      // What outlives a worker: whatever it died of, the run got past it.
      if (events.some(({ type }) => type === 'model.completed' || type === 'tool.completed'))
        Object.assign(target, { deaths: 0, trial: 'none' });
      this.#settle(target, at);
    }
    for (const { approvalId, runId, status } of commit.approvals ?? []) this.approvals.set(approvalId, { runId, status });
    for (const runId of wake) this.#wake(this.runs.get(runId), at);
    const next = leaves ? this.#leave(leaves, at) : undefined;
    return {
      ...{ type: 'committed', at: at.app, events: stored as never[], outcomes }, // of the events their numbers and types
      ...(placed ? { placed } : {}),
      ...(next ? { next } : {}),
    };
  }

  /** It works, or will as soon as somebody takes it. */
  isAtWork(run: ModelRun, { db }: Times): boolean {
    const { status, dueAt } = run.row;
    if (status === 'waiting') return dueAt !== null && dueAt <= db;
    return status === 'running' || (status === 'queued' && !isBehind(run));
  }

  /** Once nothing works in the session, the first that waits for it is due. */
  #leave(sessionId: SessionId, at: Times): RunId | undefined {
    const open = this.log(sessionId).filter((run) => !isEnded(run));
    const next = open.some((run) => this.isAtWork(run, at)) ? undefined : open.find(isBehind);
    if (next === undefined) return undefined;
    next.row.waiting = null;
    this.#wake(next, at);
    return next.row.runId;
  }

  #wake(run: ModelRun | undefined, at: Times): void {
    if (run === undefined || isEnded(run)) return;
    run.woken = true;
    this.#settle(run, at);
  }

  /** Only what rests can be due; news that came while a run worked make it due as it rests, and so does a request to cancel. */
  #settle(run: ModelRun, { db }: Times): void {
    const { row } = run;
    if (isEnded(run)) row.leaseOwner = null;
    if (row.status !== 'queued' && row.status !== 'waiting') row.dueAt = null;
    else if (run.woken || (row.status === 'waiting' && row.cancelRequested !== null)) {
      run.woken = false;
      row.dueAt = Math.min(row.dueAt ?? db, db);
    }
  }

  #cancel(run: ModelRun, reason: string, at: Times): void {
    run.row.cancelRequested ??= reason;
    this.#wake(run, at);
  }

  requestCancel(runId: string, reason: string, at: Times): boolean {
    const run = this.runs.get(runId);
    if (run === undefined || isEnded(run)) return false;
    this.#cancel(run, reason, at);
    return true;
  }

  requeueRun(runId: string, at: Times): 'requeued' | 'closed' | 'not_resumable' {
    const run = this.runs.get(runId);
    if (run === undefined) return 'not_resumable';
    if (this.sessions.get(run.row.sessionId) !== 'active') return 'closed';
    if (run.row.status !== 'failed' || !run.row.resumable) return 'not_resumable';
    Object.assign(run.row, { status: 'queued', dueAt: at.db, leaseOwner: null, error: null, resumable: false, cancelRequested: null });
    Object.assign(run, { woken: false, deaths: Math.min(run.deaths, suspicious), trial: 'none' });
    return 'requeued';
  }

  closeSession(sessionId: string, reason: string, at: Times): boolean {
    if (this.sessions.get(sessionId) !== 'active') return false;
    this.sessions.set(sessionId, 'closed');
    for (const run of this.log(sessionId)) if (!isEnded(run)) this.#cancel(run, reason, at);
    for (const approval of this.approvals.values()) {
      const { row } = this.runs.get(approval.runId) ?? {};
      if (row?.sessionId === sessionId && row.status === 'failed' && approval.status === 'pending') approval.status = 'cancelled';
    }
    return true;
  }

  removeSession(sessionId: string): 'removed' | 'busy' | 'not_found' {
    if (!this.sessions.has(sessionId)) return 'not_found';
    const runs = this.log(sessionId);
    const ids = new Set<string | null>(runs.map(({ row }) => row.runId));
    const isOfIt = ({ scope: { kind, id } }: { readonly scope: { readonly kind: string; readonly id: string } }) =>
      (kind === 'session' && id === sessionId) || (kind === 'run' && ids.has(id));
    const { accounts, holds } = this.ledger;
    const holdsOpen = [...holds.values()].some(({ state, runId }) => state === 'open' && ids.has(runId));
    if (runs.some((run) => !isEnded(run)) || holdsOpen) return 'busy';
    if ([...accounts.values()].some((account) => isOfIt(account) && this.ledger.reserved(account) !== 0)) return 'busy';
    for (const [name, account] of accounts) if (isOfIt(account)) accounts.delete(name);
    for (const { row } of runs) this.runs.delete(row.runId);
    this.sessions.delete(sessionId);
    return 'removed';
  }

  answerApproval(approvalId: string, at: Times): 'decided' | 'already' | 'not_found' {
    const approval = this.approvals.get(approvalId);
    if (approval?.status !== 'pending') return approval === undefined ? 'not_found' : 'already';
    approval.status = 'decided';
    this.#wake(this.runs.get(approval.runId), at);
    return 'decided';
  }

  /** Its lease stands from now on; says which of its runs are to stop. */
  heartbeat(workerId: string, leaseMs: number, at: Times): readonly string[] {
    this.workers.set(workerId, { expiresAt: at.db + leaseMs, leaseMs, verdict: null });
    return [...this.runs.values()]
      .filter(({ row }) => row.leaseOwner === workerId && row.cancelRequested !== null)
      .map(({ row }) => row.runId);
  }

  retireWorker(workerId: string): void {
    this.workers.set(workerId, { expiresAt: 0, leaseMs: 0, verdict: null });
  }

  #isLost(owner: string | null, { db }: Times): boolean {
    const worker = owner === null ? undefined : this.workers.get(owner);
    if (owner === null || worker === undefined) return owner !== null;
    const stands = worker.expiresAt > db && (worker.leaseMs === 0 || worker.expiresAt <= db + worker.leaseMs + clockToleranceMs);
    return !stands;
  }

  /** How a lost worker ended counts for its runs, unless it was told to: for the one that it tried, or else for all. */
  #bury(at: Times): void {
    const lost = [...this.runs.values()].filter((run) => run.row.status === 'running' && this.#isLost(run.row.leaseOwner, at));
    for (const { row } of lost) {
      const worker = this.workers.get(row.leaseOwner ?? '');
      if (worker !== undefined && worker.expiresAt > 0)
        worker.verdict ??= lost.some((run) => run.row.leaseOwner === row.leaseOwner && isTried(run)) ? 'what it tried' : 'unknown';
    }
    for (const run of lost) {
      const convicted = isTried(run) && this.workers.get(run.row.leaseOwner ?? '')?.verdict === 'what it tried';
      const deaths = run.deaths + (isTried(run) ? Number(convicted) : this.#diedWith(run));
      if (run.deaths + this.#diedWith(run) < suspicious) continue;
      if (convicted) run.trial = run.trial === 'alone' ? 'died alone' : 'died beside';
      run.deaths = deaths;
      Object.assign(run.row, { status: 'queued', leaseOwner: null, dueAt: at.db, updatedAt: at.db });
    }
  }

  #diedWith({ row }: ModelRun): 0 | 1 {
    return this.workers.get(row.leaseOwner ?? '')?.verdict === 'unknown' ? 1 : 0;
  }

  /** What a claim may take now, and for whom: what was lost before what is due, and that in the order in which it fell due. */
  claimable(at: Times): readonly { readonly run: ModelRun; readonly isLost: boolean; readonly rank: number }[] {
    this.#bury(at);
    return [...this.runs.values()].flatMap((run) => {
      const { status, leaseOwner, dueAt } = run.row;
      if (status === 'running' && this.#isLost(leaseOwner, at)) return { run, isLost: true, rank: Number.NEGATIVE_INFINITY };
      return dueAt !== null && dueAt <= at.db && run.deaths < suspicious ? { run, isLost: false, rank: dueAt } : [];
    });
  }

  /** Takes a run over; says since when it was lost. */
  take(run: ModelRun, workerId: string, isLost: boolean, at: Times): number | null {
    const { expiresAt = 0 } = (isLost && this.workers.get(run.row.leaseOwner ?? '')) || {};
    run.deaths += isLost ? this.#diedWith(run) : 0;
    run.trial = 'none';
    this.#drive(run, workerId, at);
    return expiresAt > 0 ? expiresAt : null;
  }

  /** Which suspects may be tried next: what a process just died of before anything else, then whatever fell due first. */
  suspects(setAside: number, at: Times): readonly ModelRun[] {
    const isDue = ({ row, deaths }: ModelRun) => row.dueAt !== null && row.dueAt <= at.db && deaths >= suspicious && deaths < setAside;
    const due = [...this.runs.values()].filter(isDue);
    const rank = ({ row, trial }: ModelRun) => (trial === 'died beside' ? -1 : (row.dueAt ?? 0));
    return due.filter((run) => rank(run) === Math.min(...due.map(rank)));
  }

  /** Tries a suspect; says whether its last worker died of it alone. */
  try(run: ModelRun, workerId: string, isAlone: boolean, at: Times): boolean {
    const diedAlone = run.trial === 'died alone';
    run.trial = isAlone ? 'alone' : 'beside';
    this.#drive(run, workerId, at);
    return diedAlone;
  }

  #drive(run: ModelRun, workerId: string, { db }: Times): void {
    Object.assign(run.row, { status: 'running', leaseOwner: workerId, epoch: run.row.epoch + 1, dueAt: null, updatedAt: db });
    run.woken = false;
  }
}
