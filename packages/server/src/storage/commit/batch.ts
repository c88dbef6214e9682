import { NexusError } from '#core';
import type { Commit, CommitResult } from '#storage/contract';
import { type Program, together } from '#storage/program';
import { approvalHandler } from './approvals.ts';
import { artifactHandler } from './artifacts.ts';
import { claimHandler } from './claims.ts';
import { createRunHandler } from './create-run.ts';
import { decisionHandler } from './decisions.ts';
import { eventHandler } from './events.ts';
import { fileHandler } from './files.ts';
import { gateHandler } from './gate.ts';
import type { Batch, Draft, Handler } from './handler.ts';
import { ledgerHandler } from './ledger.ts';
import { quotaHandler } from './quotas.ts';
import { runHandler } from './runs.ts';
import { leaveHandler, placeHandler } from './session-log.ts';
import { sessionHandler } from './sessions.ts';
import { wakeHandler } from './wake.ts';
import { createWorkingRuns } from './working-runs.ts';
import { createWorkingSessions } from './working-sessions.ts';

export interface BatchContext extends Omit<Batch, 'tenantId' | 'books'> {
  /** The books of the tenant are to be had for itself: asked for after a try without it said so. */
  readonly alone?: boolean;
  /** A transaction takes no further commits once it holds this many characters of events. */
  readonly maxCharacters: number;
}

/** What became of one commit of a batch; `failed` is an error of that commit alone. */
export type BatchResult = CommitResult | { readonly type: 'failed'; readonly error: unknown };

/**
 * Every kind of change, in the order of locks, decisions and writes. The first that refuses is the answer, so those that
 * recognise a repeated commit stand before those that find its time is over.
 */
function handlersOf(batch: Batch): readonly Handler[] {
  const working = createWorkingRuns(batch);
  const sessions = createWorkingSessions(batch, working);
  return [
    gateHandler(batch),
    claimHandler(batch),
    createRunHandler(working, sessions),
    quotaHandler(batch),
    sessionHandler(batch),
    placeHandler(sessions, working),
    runHandler(batch, working),
    ledgerHandler(batch),
    fileHandler(batch),
    artifactHandler(batch),
    eventHandler(batch, working),
    approvalHandler(batch),
    decisionHandler(batch),
    wakeHandler(working),
    leaveHandler(sessions, working),
  ];
}

/**
 * Applies commits of one tenant, in order, inside the caller's transaction. Locks are taken in one global order (gate, counts, sessions,
 * runs, reservations, budget rows, trees of files, each sorted), so that concurrent batches, sweeps and claims cannot deadlock; then each
 * commit is decided in memory, and one that is refused, fenced, a duplicate or fails leaves no trace. Answers the commits
 * that the transaction has taken: those after them, if any, have not been decided. Null: nothing was done, as the books must be had
 * `alone`.
 */
export function* commitBatch(context: BatchContext, all: readonly Commit[]): Program<readonly BatchResult[] | null> {
  // What is counted is read before anything is decided: a commit that counts comes first, so that nothing is booked before it.
  const counting = all.findIndex((commit, index) => index > 0 && counts(commit));
  const commits = counting < 0 ? all : all.slice(0, counting);
  const [first] = commits;
  const books = { alone: context.alone === true || (first !== undefined && counts(first)), mustBeAlone: false };
  const batch: Batch = { ...context, tenantId: first?.tenantId ?? '', books };
  const handlers = handlersOf(batch);
  let failed: Map<Commit, unknown> | undefined;
  for (const commit of commits) {
    try {
      if (commit.tenantId !== batch.tenantId) throw new NexusError('internal', 'a batch of commits holds two tenants');
      for (const handler of handlers) handler.want?.(commit);
    } catch (error) {
      failed ??= new Map();
      failed.set(commit, error);
    }
  }
  const loads: Program<void>[] = [];
  for (const handler of handlers) {
    const load = handler.load?.();
    if (load) loads.push(load);
  }
  // Side by side each locks with what it asks first, in their order. One after the other, also with what it asks then.
  if (books.alone) for (const load of loads) yield* load;
  else yield* together(loads);
  if (books.mustBeAlone) return null;
  const results: BatchResult[] = [];
  let characters = 0;
  for (const commit of commits) {
    if (characters >= context.maxCharacters) break;
    const result: BatchResult = failed?.has(commit) ? { type: 'failed', error: failed.get(commit) } : decide(batch, handlers, commit);
    if (result.type === 'committed') for (const { data } of result.events) characters += data.length;
    results.push(result);
  }
  const writes: Program<unknown>[] = [];
  for (const handler of handlers) handler.write?.(writes);
  yield* together(writes, { last: true });
  return results;
}

/** Whether it changes limits that others read, or begins a balance with what was spent before. */
function counts({ ledger = none }: Commit): boolean {
  return ledger.some((operation) => operation.type === 'unlimit' || (operation.type === 'limit' && !operation.fresh));
}

const none: readonly never[] = [];

function decide({ nowMs }: Batch, handlers: readonly Handler[], commit: Commit): BatchResult {
  const draft: Draft = { outcomes: none, events: none };
  const changes: (() => void)[] = [];
  try {
    for (const handler of handlers) {
      const verdict = handler.decide?.(commit, draft);
      if (typeof verdict === 'object') return verdict;
      if (verdict) changes.push(verdict);
    }
  } catch (error) {
    return { type: 'failed', error };
  }
  for (const change of changes) change();
  const { placed, next } = draft;
  return {
    type: 'committed',
    at: nowMs,
    events: draft.events,
    outcomes: draft.outcomes,
    ...(placed === undefined ? {} : { placed }),
    ...(next === undefined ? {} : { next }),
  };
}
