import type { BudgetRefusal, ChatRequest, JournalData, NewEvent, RunId, SessionId, WhileBusy } from '@nexus-agent/protocol';
import { inTurn, modelNeeds, scopesOf } from '#budget';
import { lowerInputBound, refusalError, withWait } from '#calls';
import { NexusError, toTimestamp } from '#core';
import { type CreateOptions, claimOf, idempotencyConflict, type Principal } from '#identity';
import type { AdoptOptions } from '#runs/dispatch';
import { startRunSpan } from '#runs/drive';
import { fold, foldNew, initialState, type Transcripts, toJournalEvent } from '#runs/journal';
import {
  type AgentSource,
  createRunContext,
  type Engine,
  planModelCall,
  planRunAttempt,
  proposeModelAttempt,
  type RunContext,
} from '#runs/steps';
import type { AgentVersionRow, Commit, DecisionRow, PlaceInLog, RunRow, SessionRow } from '#storage';
import type { Span } from '#telemetry';
import { mayStart } from './may-start.ts';
import { inputParts, newRun, newSession, runLimits, sessionBusy, sessionClosed, sessionLimits } from './rows.ts';

export interface StartOptions extends CreateOptions {
  readonly traceparent?: string;
  /** Ends the wait for what others hold of the budget; what was written stays. */
  readonly signal?: AbortSignal;
}

export interface StartDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  readonly transcripts: Transcripts;
  /** Name of the agent that serves when none is named. */
  readonly defaultAgent: string;
}

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

/** What is known of a run before its session is read. */
interface Draft {
  readonly principal: Principal;
  readonly base: Commit;
  readonly session: SessionRow;
  readonly isNewSession: boolean;
  readonly row: RunRow;
  readonly created: JournalData<'run.created'>;
  readonly whileBusy: WhileBusy;
  readonly span: Span;
}

/** So often may other runs come to be in the session while a run is prepared here; after that it is put into the queue. */
const maxMoves = 3;

/**
 * Starts a run for a person. Everything that it needs to exist is written in one transaction: its session when it is new,
 * its budget, its first events, and, when this process is to drive it, the reservation of its first model call. A refusal
 * by policy or budget leaves nothing behind but the record of the decision. What becomes of the written run is the caller's.
 *
 * @param here whether this process has room to drive it
 */
export async function startRun(
  dependencies: StartDependencies,
  principal: Principal,
  request: ChatRequest,
  { here, ...options }: StartOptions & { readonly here: boolean },
): Promise<StartedRun> {
  const draft = await prepare(dependencies, principal, request, options);
  try {
    const begun = here ? await begin(dependencies, draft, options.signal) : 'busy';
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
async function begin(dependencies: StartDependencies, draft: Draft, signal: AbortSignal | undefined): Promise<StartedRun | 'busy'> {
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
  engine.metrics.budgetOperation('refused');
  await engine.store.commit({ tenantId, decisions: answer.decisions });
  const refusal = withWait(answer.refusal, waitedMs);
  const { unit, scope } = refusal;
  engine.logger.info({ runId: row.runId, unit, scope: scope.kind }, 'a budget refused');
  throw new NexusError('budget_exceeded', refusalError(refusal, 'model').message, { details: { ...refusal } });
}

/** The budget does not afford the first call; nothing was written. */
interface Refused {
  readonly type: 'refused';
  readonly refusal: BudgetRefusal;
  readonly held?: true;
  readonly decisions: readonly DecisionRow[];
}

async function prepare(
  { engine, agents, defaultAgent }: StartDependencies,
  principal: Principal,
  request: ChatRequest,
  options: StartOptions,
): Promise<Draft> {
  const { tenantId } = principal;
  const { row: session, agent, fresh } = await sessionFor({ engine, agents, defaultAgent }, principal, request);
  const { sessionId } = session;
  const runId = engine.ids.next<RunId>('run');
  const decision = await mayStart(engine, principal, { runId, agent: agent.name, sessionId });
  const deadlineAt = request.deadlineMs === undefined ? null : toTimestamp(engine.clock.now() + request.deadlineMs);
  const span = startRunSpan(engine.tracer, { runId, tenantId, sessionId, agent: agent.name }, options.traceparent);
  const created: JournalData<'run.created'> = {
    sessionId,
    agent: agent.name,
    agentVersion: agent.version,
    ...(request.model === undefined ? {} : { model: request.model }),
    input: inputParts(request),
    ...(request.budget === undefined ? {} : { budget: request.budget }),
    history: [],
    principal: principal.id,
    ...(deadlineAt === null ? {} : { deadlineAt }),
    traceparent: span.traceparent,
    decision: decision.record,
  };
  const row = newRun(engine, session, agent, runId, { model: request.model, budget: request.budget, traceId: span.traceId });
  const base: Commit = {
    tenantId,
    ...claimOf(principal, options, 'run', request, runId),
    ...(fresh ? { sessions: [session] } : { openSession: sessionId }),
    ledger: [...(fresh ? sessionLimits(sessionId, undefined) : []), ...runLimits(runId, request.budget, agent.definition.budget)],
    decisions: [decision.row],
  };
  return { principal, base, session, isNewSession: fresh, row, created, whileBusy: request.whileBusy ?? 'queue', span };
}

async function sessionFor(
  { engine, agents, defaultAgent }: Omit<StartDependencies, 'transcripts'>,
  principal: Principal,
  request: ChatRequest,
): Promise<{ readonly row: SessionRow; readonly agent: AgentVersionRow; readonly fresh: boolean }> {
  const { tenantId } = principal;
  if (request.sessionId === undefined) {
    const agent = await agents.get(tenantId, request.agent ?? defaultAgent);
    return { row: newSession(engine, principal, agent, {}), agent, fresh: true };
  }
  const row = await engine.store.getSession(tenantId, request.sessionId as SessionId); // an unknown id is simply not found
  if (row === null) throw new NexusError('not_found', `there is no session ${request.sessionId}`);
  if (row.status === 'closed') throw sessionClosed(request.sessionId);
  const own = request.agent === undefined || request.agent === row.agent;
  const agent = own ? await agents.get(tenantId, row.agent, row.agentVersion) : await agents.get(tenantId, request.agent ?? row.agent);
  return { row, agent, fresh: false };
}

async function existing(engine: Engine, principal: Principal, runId: string): Promise<StartedRun> {
  const row = await engine.store.getRun(principal.tenantId, runId as RunId); // stored as a run's id
  if (row === null) throw new NexusError('internal', 'the run of this idempotency key is gone');
  return { type: 'existing', row };
}

/** What it is shown of its session is read when it begins. */
async function writeQueued({ engine }: StartDependencies, draft: Draft): Promise<StartedRun> {
  const { principal, base, isNewSession, row, created } = draft;
  const reason = `interrupted by run ${row.runId} of the same session`;
  const result = await engine.store.commit({
    ...base,
    ...(isNewSession ? {} : { place: placeInQueue(draft, reason) }),
    createRun: row,
    events: [{ type: 'run.created', data: created }],
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

function placeInQueue({ whileBusy, created }: Draft, reason: string): PlaceInLog {
  const ways = { queue: 'wait', reject: 'refuse', interrupt: { interrupt: reason }, parallel: 'begin' } as const;
  return { whileBusy: ways[whileBusy], waitUntil: created.deadlineAt === undefined ? null : Date.parse(created.deadlineAt) };
}

/** `moved` when another run came to be in the session since it was read, `busy` when others are at work that this one is to wait for,
 * `cheaper` when its budget refused it and its input was found to cost less. */
async function writeOwned(
  { engine, agents, transcripts }: StartDependencies,
  draft: Draft,
  whole: boolean,
): Promise<StartedRun | Refused | 'moved' | 'busy' | 'cheaper'> {
  const { principal, base, session, isNewSession, row: queued, span } = draft;
  const { store, workerId } = engine;
  const { tenantId } = principal;
  const { reading, head } = isNewSession ? { reading: { runs: [] }, head: null } : await transcripts.read(queued, null);
  // Only the store can say for sure, but then everything else would be for nothing.
  if (draft.whileBusy !== 'parallel' && (head?.status === 'running' || head?.status === 'queued')) return 'busy';
  const newest = reading.runs.at(-1);
  const created = { ...draft.created, history: newest === undefined ? [] : [newest.runId], reading };
  const context = await createRunContext(engine, agents, transcripts, {
    row: queued,
    session,
    principal: principal.id,
    reading,
    history: created.history,
    parent: null,
    deadlineAt: created.deadlineAt ?? null,
    traceparent: created.traceparent ?? null,
  });
  const row: RunRow = { ...queued, status: 'running', epoch: 1, leaseOwner: workerId, dueAt: null, step: 1 };
  const opening: NewEvent[] = [
    { type: 'run.created', data: created },
    { type: 'run.started', data: { workerId, epoch: 1 } },
  ];
  const attempt = planFirstAttempt(engine, context, opening, whole);
  if (attempt.type === 'impossible') {
    const { code, message, details } = attempt.error;
    const decisions = [...(base.decisions ?? []), ...(attempt.decision === null ? [] : [attempt.decision.row])];
    await store.commit({ tenantId, decisions });
    throw new NexusError(code, message, details === undefined ? {} : { details });
  }
  const proposal = proposeModelAttempt(attempt.attempt);
  const decisions = [...(base.decisions ?? []), ...proposal.decisions];
  const limits = base.ledger?.length ?? 0;
  const result = await store.commit({
    ...base,
    ...(isNewSession ? {} : { place: { after: head?.runId ?? null, whileBusy: draft.whileBusy === 'parallel' ? 'begin' : 'refuse' } }),
    createRun: row,
    ledger: [...(base.ledger ?? []), ...proposal.ledger],
    decisions,
    events: (outcomes) => [...opening, ...proposal.events(outcomes.slice(limits))],
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
      const begun = { type: 'begun' as const, written, stored: result.events, attempt: attempt.attempt, outcome };
      const adopt: AdoptOptions = { context, fence, state, opening: begun, span };
      return {
        type: 'owned',
        row: { ...row, lastSeq: state.lastSeq, totals: state.totals, createdAt: result.placed?.createdAt ?? row.createdAt },
        adopt,
      };
    }
  }
}

function planFirstAttempt(engine: Engine, context: RunContext, opening: readonly NewEvent[], whole: boolean) {
  const planned = planModelCall(engine, context, foldNew(initialState, opening), { step: 1, newStep: true });
  if (planned.type === 'impossible') return planned;
  const [target] = context.targets;
  if (target === undefined) throw new NexusError('model_not_found', `agent ${context.agent.name} has no model`);
  return planRunAttempt(engine, context, planned.call, target, { attempt: 1, whole });
}
