import { type BudgetRefusal, dictionary, type JournalData, type NewEvent, type RunId, type WhileBusy } from '@nexus-agent/protocol';
import { inTurn, modelNeeds, scopesOf } from '#budget';
import { lowerInputBound, refusalThrown, withWait } from '#calls';
import { NexusError } from '#core';
import { idempotencyConflict, type Principal } from '#identity';
import type { AdoptOptions } from '#runs/dispatch';
import { fold, foldNew, initialState, nextAction, type Transcripts, toJournalEvent } from '#runs/journal';
import {
  type AgentSource,
  createRunContext,
  type Engine,
  faultOfOutputSchema,
  planModelCall,
  planRunAttempt,
  proposeModelAttempt,
  type RunContext,
} from '#runs/steps';
import type { Commit, DecisionRow, PlaceInLog, RunRow, SessionRow } from '#storage';
import type { Span } from '#telemetry';
import { sessionBusy, sessionClosed } from './rows.ts';

export interface StartDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  readonly transcripts: Transcripts;
  /** Name of the agent that serves when none is named. */
  readonly defaultAgent: string;
}

export type BeginDependencies = Omit<StartDependencies, 'defaultAgent'>;

export type StartedRun =
  /** Written with this worker as its owner: it must be adopted. */
  | { readonly type: 'owned'; readonly row: RunRow; readonly adopt: AdoptOptions }
  /** Written and in the queue: it must be woken. */
  | { readonly type: 'queued'; readonly row: RunRow; readonly interrupted: Interrupted | null }
  /** The same request under the same idempotency key made this run before. */
  | { readonly type: 'existing'; readonly row: RunRow }
  /** The store did not say: the run may exist with this worker as its owner. It must be disowned, and the error told. */
  | { readonly type: 'in_doubt'; readonly runId: RunId; readonly error: unknown };

/** The runs that a new one cancels. They have been asked to; whoever drives them, and their sub-agents, are to hear of it. */
export interface Interrupted {
  readonly runIds: readonly RunId[];
  readonly reason: string;
}

/** A run that is decided on and not written. */
export interface RunDraft {
  readonly principal: Principal;
  readonly base: Commit;
  readonly session: SessionRow;
  readonly isNewSession: boolean;
  readonly row: RunRow;
  readonly created: JournalData<'run.created'>;
  /** What a fork takes over of its original's journal, after its own `run.created`. It is shown of its session what its original was. */
  readonly forked: readonly NewEvent[] | null;
  readonly whileBusy: WhileBusy;
  readonly span: Span;
}

/** So often may other runs come to be in the session while a run is prepared here; after that it is put into the queue. */
const maxMoves = 3;

/**
 * Writes a new run in one transaction with everything that it needs to exist; when this process is to drive it, with the reservation of
 * its next model call. A refusal by policy or budget leaves nothing behind but the record of the decision. What becomes of the written
 * run is the caller's.
 *
 * @param here whether this process has room to drive it
 * @param signal ends the wait for what others hold of the budget
 */
export async function beginRun(dependencies: BeginDependencies, draft: RunDraft, here: boolean, signal?: AbortSignal): Promise<StartedRun> {
  try {
    const begun = here ? await beginHere(dependencies, draft, signal) : 'busy';
    if (begun !== 'busy') return begun;
    const queued = await writeQueued(dependencies, draft);
    draft.span.end();
    return queued;
  } catch (error) {
    draft.span.recordError(error);
    draft.span.end();
    // Without a word of the store the run may have been written all the same.
    if (here && (!(error instanceof NexusError) || error.code === 'storage_unavailable'))
      return { type: 'in_doubt', runId: draft.row.runId, error };
    throw error;
  }
}

/** Waits for its turn where only what others hold of the budget stands in its way. */
async function beginHere(dependencies: BeginDependencies, draft: RunDraft, signal: AbortSignal | undefined): Promise<StartedRun | 'busy'> {
  const { engine } = dependencies;
  const { row, session } = draft;
  const { tenantId } = row;
  const { user, project } = session;
  const { deadlineAt } = draft.created;
  const atMostMs = deadlineAt === undefined ? undefined : Math.max(0, Date.parse(deadlineAt) - engine.clock.now());
  const scopes = scopesOf({ tenantId, project, agent: row.agent, user, session: row.sessionId });
  const ask = async ({ isLast }: { readonly isLast: boolean }): Promise<StartedRun | Refused | 'busy'> => {
    for (let moves = 0; moves <= maxMoves; moves++) {
      const owned = await writeOwned(dependencies, draft, !isLast);
      if (owned !== 'moved' && owned !== 'cheaper') return owned;
    }
    return 'busy';
  };
  const refusedBy = (answer: Awaited<ReturnType<typeof ask>>) => (answer !== 'busy' && answer.type === 'refused' ? answer : null);
  const { answer, waitedMs } = await inTurn(engine.admission, { tenantId, needs: modelNeeds(scopes), signal, atMostMs }, ask, refusedBy);
  if (answer === 'busy' || answer.type !== 'refused') return answer;
  const refusal = withWait(answer.refusal, waitedMs);
  const { unit, scope } = refusal;
  engine.logger.info({ runId: row.runId, unit, scope: scope.kind }, 'a budget refused');
  engine.metrics.budgetOperation('refused');
  await engine.store.commit({ tenantId, decisions: answer.decisions });
  throw refusalThrown(refusal, 'model');
}

/** The budget does not afford the first call; nothing was written. */
interface Refused {
  readonly type: 'refused';
  readonly refusal: BudgetRefusal;
  readonly held?: true;
  readonly decisions: readonly DecisionRow[];
}

async function existing(engine: Engine, principal: Principal, runId: string): Promise<StartedRun> {
  const row = await engine.store.getRun(principal.tenantId, runId as RunId); // stored as a run's id
  if (row === null)
    throw new NexusError('not_found', `the run that this idempotency key made, ${runId}, was deleted; use another key for a new one`);
  return { type: 'existing', row };
}

/** What it is shown of its session is read when it begins. */
async function writeQueued({ engine }: BeginDependencies, draft: RunDraft): Promise<StartedRun> {
  const { principal, base, isNewSession, row, created, forked } = draft;
  const reason = `interrupted by run ${row.runId} of the same session`;
  const result = await engine.store.commit({
    ...base,
    ...(isNewSession ? {} : { place: placeInQueue(draft, reason) }),
    createRun: row,
    events: engine.secrets.inData([{ type: 'run.created', data: created }, ...(forked ?? [])]),
  });
  if (result.type === 'duplicate') {
    if (!result.sameRequest) throw idempotencyConflict();
    return existing(engine, principal, result.resourceId);
  }
  if (result.type === 'closed') throw sessionClosed(row.sessionId);
  if (result.type === 'busy') throw sessionBusy(row.sessionId, result.runId);
  if (result.type !== 'committed') throw new NexusError('internal', `the run could not be written (${result.type})`);
  const { createdAt, behind, interrupted } = result.placed ?? { createdAt: row.createdAt, behind: null, interrupted: [] };
  const waiting = behind === null ? null : { reason: 'session' as const, behind };
  return {
    type: 'queued',
    row: { ...row, lastSeq: result.events.length, createdAt, waiting },
    interrupted: interrupted.length === 0 ? null : { runIds: interrupted, reason },
  };
}

function placeAtOnce({ forked }: RunDraft, after: RunId | null, isBeside: boolean): PlaceInLog {
  return { ...(forked === null ? { after } : {}), whileBusy: isBeside ? 'begin' : 'refuse' };
}

function placeInQueue({ whileBusy, created, forked }: RunDraft, reason: string): PlaceInLog {
  if (forked !== null) return { whileBusy: 'begin' };
  const ways = dictionary({ queue: 'wait', reject: 'refuse', interrupt: { interrupt: reason }, parallel: 'begin' } as const);
  return { whileBusy: ways[whileBusy], waitUntil: created.deadlineAt === undefined ? null : Date.parse(created.deadlineAt) };
}

/**
 * `moved` when another run came to be in the session since it was read, `busy` when others are at work that this one is to wait for,
 * `cheaper` when its budget refused it and its input was found to cost less.
 */
async function writeOwned(
  { engine, agents, transcripts }: BeginDependencies,
  draft: RunDraft,
  whole: boolean,
): Promise<StartedRun | Refused | 'moved' | 'busy' | 'cheaper'> {
  const { principal, base, session, isNewSession, row: queued, span } = draft;
  const { store, workerId } = engine;
  const { tenantId } = principal;
  const isBeside = draft.forked !== null || draft.whileBusy === 'parallel';
  const { reading, head } =
    isNewSession || draft.forked !== null ? { reading: { runs: [] }, head: null } : await transcripts.read(queued, null, !isBeside);
  // Only the store can say for sure, but then everything else would be for nothing.
  if (!isBeside && (head?.status === 'running' || head?.status === 'queued')) return 'busy';
  const newest = reading.runs.at(-1);
  const created =
    draft.forked !== null ? draft.created : { ...draft.created, history: newest === undefined ? [] : [newest.runId], reading };
  const context = await createRunContext(engine, agents, transcripts, {
    row: queued,
    session,
    principal: principal.id,
    reading: created.reading ?? null,
    history: created.history,
    parent: null,
    deadlineAt: created.deadlineAt ?? null,
    traceparent: created.traceparent ?? null,
    filesOf: created.filesOf,
    clientTools: created.clientTools,
  });
  const opening: NewEvent[] = [
    { type: 'run.created', data: created },
    ...(draft.forked ?? []),
    { type: 'run.started', data: { workerId, epoch: 1 } },
  ];
  const attempt = planAttempt(engine, context, opening, whole);
  if (attempt.type === 'impossible') {
    const { code, message, details } = attempt.error;
    const decisions = [...(base.decisions ?? []), ...(attempt.decision === null ? [] : [attempt.decision.row])];
    await store.commit({ tenantId, decisions });
    throw new NexusError(code, message, details === undefined ? {} : { details });
  }
  const row: RunRow = { ...queued, status: 'running', epoch: 1, leaseOwner: workerId, dueAt: null, step: attempt.attempt.call.step };
  const proposal = proposeModelAttempt(attempt.attempt);
  const decisions = [...(base.decisions ?? []), ...proposal.decisions];
  const limits = base.ledger?.length ?? 0;
  const askedAt = engine.clock.monotonic();
  const result = await store.commit({
    ...base,
    ...(isNewSession ? {} : { place: placeAtOnce(draft, head?.runId ?? null, isBeside) }),
    createRun: row,
    ledger: [...(base.ledger ?? []), ...proposal.ledger],
    decisions,
    events: (outcomes) => engine.secrets.inData([...opening, ...proposal.events(outcomes.slice(limits))]),
    totals: (events) => foldNew(initialState, events).totals,
  });
  switch (result.type) {
    case 'duplicate':
      if (!result.sameRequest) throw idempotencyConflict();
      return existing(engine, principal, result.resourceId);
    case 'refused':
      if (await lowerInputBound(engine, attempt.attempt, result.refusal, new AbortController().signal)) return 'cheaper';
      return { ...result, decisions };
    case 'closed':
      throw sessionClosed(row.sessionId);
    case 'moved':
      return 'moved';
    case 'busy':
      if (draft.whileBusy === 'reject') throw sessionBusy(row.sessionId, result.runId);
      return 'busy';
    case 'fenced':
      throw new NexusError('internal', 'a new run was fenced');
    case 'committed': {
      const written = result.events.map(toJournalEvent);
      const state = fold(written);
      const fence = { tenantId: row.tenantId, runId: row.runId, epoch: 1, owner: workerId };
      const outcome = result.outcomes[limits];
      // What a fork takes over was counted with its original.
      const own = written.slice(1 + (draft.forked?.length ?? 0));
      const begun = { type: 'begun' as const, written: own, stored: result.events, attempt: attempt.attempt, outcome, askedAt };
      const adopt: AdoptOptions = { context, fence, state, opening: begun, span };
      return {
        type: 'owned',
        row: { ...row, lastSeq: state.lastSeq, totals: state.totals, createdAt: result.placed?.createdAt ?? row.createdAt },
        adopt,
      };
    }
  }
}

function planAttempt(engine: Engine, context: RunContext, opening: readonly NewEvent[], whole: boolean) {
  const state = foldNew(initialState, opening);
  const { maxSteps, maxParallelTools } = context.agent;
  const action = nextAction(state, { maxSteps, maxParallelTools, maxEqualSteps: engine.settings.maxEqualSteps }, new Set());
  if (action.type === 'fail') return { type: 'impossible' as const, error: action.error, decision: null };
  if (action.type !== 'model') throw new NexusError('internal', `a run cannot begin with ${action.type}`);
  const fault = faultOfOutputSchema(engine, context);
  if (fault !== null) return { type: 'impossible' as const, error: fault, decision: null };
  const planned = planModelCall(engine, context, state, action);
  if (planned.type === 'impossible') return planned;
  const [target] = context.targets;
  if (target === undefined) throw new NexusError('model_not_found', `agent ${context.agent.name} has no model`);
  return planRunAttempt(engine, context, planned.call, target, { attempt: 1, whole });
}
