import type { ChatRequest, JournalData, RunId, SessionId } from '@nexus-agent/protocol';
import { NexusError, toTimestamp } from '#core';
import { type CreateOptions, claimOf, type Principal } from '#identity';
import { startRunSpan } from '#runs/drive';
import type { AgentVersionRow, Commit, SessionRow } from '#storage';
import { beginRun, type RunDraft, type StartDependencies, type StartedRun } from './begin-run.ts';
import { checkClientTools } from './client-tools.ts';
import { mayStart } from './may-start.ts';
import { inputParts, newRun, newSession, payersOf, requireModel, runLimits, sessionClosed, sessionLimits } from './rows.ts';

export interface StartOptions extends CreateOptions {
  readonly traceparent?: string;
  /** Nobody waits at this process for the run: any other may drive it as well. */
  readonly background?: boolean;
  /** Ends the wait for what others hold of the budget; what was written stays. */
  readonly signal?: AbortSignal;
}

/**
 * Starts a run for a person: see {@link beginRun}. Its session is written with it when it is new.
 */
export async function startRun(
  dependencies: StartDependencies,
  principal: Principal,
  request: ChatRequest,
  { here, ...options }: StartOptions & { readonly here: boolean },
): Promise<StartedRun> {
  return beginRun(dependencies, await prepare(dependencies, principal, request, options), here, options.signal);
}

async function prepare(
  { engine, agents, defaultAgent }: StartDependencies,
  principal: Principal,
  request: ChatRequest,
  options: StartOptions,
): Promise<RunDraft> {
  const { tenantId } = principal;
  const { row: session, agent, fresh } = await sessionFor({ engine, agents, defaultAgent }, principal, request);
  const { sessionId } = session;
  await requireModel(engine, request.model);
  await checkClientTools(engine, tenantId, agent.definition, request.clientTools ?? []);
  const runId = engine.ids.next<RunId>('run');
  const decision = await mayStart(engine, principal, { runId, agent, sessionId });
  const deadlineAt = request.deadlineMs === undefined ? null : toTimestamp(engine.clock.now() + request.deadlineMs);
  const span = startRunSpan(engine.tracer, { runId, tenantId, sessionId, agent: agent.name }, options.traceparent);
  const created: JournalData<'run.created'> = {
    sessionId,
    agent: agent.name,
    agentVersion: agent.version,
    ...(request.model === undefined ? {} : { model: request.model }),
    input: inputParts(request),
    ...(request.budget === undefined ? {} : { budget: request.budget }),
    ...(request.clientTools === undefined || request.clientTools.length === 0 ? {} : { clientTools: request.clientTools }),
    history: [],
    principal: principal.id,
    ...payersOf({ user: request.user ?? session.user, project: request.project ?? session.project }),
    ...(deadlineAt === null ? {} : { deadlineAt }),
    traceparent: span.traceparent,
    decision: decision.record,
  };
  const { model, budget, user, project } = request;
  const row = newRun(engine, session, agent, runId, { model, budget, user, project, traceId: span.traceId });
  const base: Commit = {
    tenantId,
    ...claimOf(principal, options, 'run', request, runId),
    ...(fresh ? { sessions: [session] } : { openSession: sessionId }),
    ledger: [...(fresh ? sessionLimits(sessionId, undefined) : []), ...runLimits(runId, request.budget, agent.definition.budget)],
    decisions: [decision.row],
  };
  return { principal, base, session, isNewSession: fresh, row, created, forked: null, whileBusy: request.whileBusy ?? 'queue', span };
}

async function sessionFor(
  { engine, agents, defaultAgent }: Omit<StartDependencies, 'transcripts'>,
  principal: Principal,
  request: ChatRequest,
): Promise<{ readonly row: SessionRow; readonly agent: AgentVersionRow; readonly fresh: boolean }> {
  const { tenantId } = principal;
  if (request.sessionId === undefined) {
    const agent = await agents.get(tenantId, request.agent ?? defaultAgent);
    return { row: newSession(engine, principal, agent, payersOf(request)), agent, fresh: true };
  }
  const row = await engine.store.getSession(tenantId, request.sessionId as SessionId); // an unknown id is simply not found
  if (row === null) throw new NexusError('not_found', `there is no session ${request.sessionId}`);
  if (row.status === 'closed') throw sessionClosed(request.sessionId);
  const own = request.agent === undefined || request.agent === row.agent;
  const agent = own ? await agents.get(tenantId, row.agent, row.agentVersion) : await agents.get(tenantId, request.agent ?? row.agent);
  return { row, agent, fresh: false };
}
