import {
  type BudgetLimits,
  budgetUnits,
  type ChatRequest,
  type JournalData,
  type RunId,
  type SessionCreateRequest,
  type SessionId,
  type UserPart,
} from '@nexus-agent/protocol';
import { limitOperations } from '#budget';
import { decide, denialMessage, type RecordedDecision } from '#calls';
import type { AgentCatalog } from '#control';
import { canonicalJson, NexusError, sha256, toTimestamp } from '#core';
import type { Worker } from '#runs/dispatch';
import { type ChildCall, startRunSpan } from '#runs/drive';
import { emptyTotals, fold, initialState, parseEvent, type Transcripts } from '#runs/journal';
import {
  budgetStop,
  createContext,
  type Engine,
  foldNew,
  planModelAttempt,
  planModelCall,
  proposeModelAttempt,
  type RunContext,
  subagentOf,
} from '#runs/steps';
import type { AgentVersionRow, Commit, IdempotencyClaim, LedgerOperation, PageOf, RunRow, SessionRow } from '#storage';
import type { Span } from '#telemetry';
import type { CreateOptions, Principal, StartOptions } from '../types.ts';

export interface StartDependencies {
  readonly engine: Engine;
  readonly catalog: AgentCatalog;
  readonly transcripts: Transcripts;
  readonly worker: () => Worker;
  readonly defaultAgent: string;
}

/** What is written for a new session besides its row: the rows of its budget, limited or only counted. */
export function sessionParts(sessionId: SessionId, budget: BudgetLimits | undefined): readonly LedgerOperation[] {
  return limitOperations({ kind: 'session', id: sessionId }, budget ?? {});
}

export function newSession(engine: Engine, principal: Principal, agent: AgentVersionRow, request: SessionCreateRequest): SessionRow {
  if (request.policy !== undefined) engine.policy.check(request.policy);
  return {
    tenantId: principal.tenantId,
    sessionId: engine.ids.next<SessionId>('session'),
    status: 'active',
    agent: agent.name,
    agentVersion: agent.version,
    policy: request.policy ?? null,
    user: request.user ?? null,
    project: request.project ?? null,
    metadata: request.metadata ?? null,
    createdAt: engine.clock.now(),
  };
}

/** Null without a key. The hash covers who asks and what for, so that a key never gives one caller another's answer. */
export function idempotencyOf(
  principal: Principal,
  options: CreateOptions,
  what: string,
  request: unknown,
  resourceId: string,
): { readonly idempotency?: IdempotencyClaim } {
  if (options.idempotencyKey === undefined) return {};
  const requestHash = sha256(canonicalJson([what, principal.id, request]));
  return { idempotency: { key: `${what}:${options.idempotencyKey}`, requestHash, resourceId } };
}

export function sessionClosed(sessionId: string): NexusError {
  return new NexusError('conflict', `session ${sessionId} is closed; create another one`);
}

export function idempotencyConflict(): NexusError {
  return new NexusError('idempotency_conflict', 'this idempotency key was used for another request; use a new key');
}

export function inputParts(request: Pick<ChatRequest, 'input' | 'attachments'>): UserPart[] {
  const parts: UserPart[] = typeof request.input === 'string' ? [{ type: 'text', text: request.input }] : request.input;
  return [...parts, ...(request.attachments ?? [])];
}

/**
 * Starts runs. Everything that a run needs to exist is written in one transaction: its session when it is new, its
 * budget, its first events, and, when this process will drive it, the reservation of its first model call. A refusal
 * by policy or budget leaves nothing behind but the record of the decision.
 */
export function createRunStarter({ engine, catalog, transcripts, worker, defaultAgent }: StartDependencies) {
  const { store, clock, ids } = engine;

  async function sessionFor(
    principal: Principal,
    request: ChatRequest,
  ): Promise<{ row: SessionRow; agent: AgentVersionRow; fresh: boolean }> {
    if (request.sessionId !== undefined) {
      const row = await store.getSession(principal.tenantId, request.sessionId as SessionId); // an unknown id is simply not found
      if (row === null) throw new NexusError('not_found', `there is no session ${request.sessionId}`);
      if (row.status === 'closed') throw sessionClosed(request.sessionId);
      const agent =
        request.agent === undefined || request.agent === row.agent
          ? await catalog.get(principal.tenantId, row.agent, row.agentVersion)
          : await catalog.get(principal.tenantId, request.agent);
      return { row, agent, fresh: false };
    }
    const agent = await catalog.get(principal.tenantId, request.agent ?? defaultAgent);
    return { row: newSession(engine, principal, agent, {}), agent, fresh: true };
  }

  /**
   * Asks whether a person may start, fork or go on with a run of the agent. The record of a permit is the caller's to
   * write, together with what it permits. Throws `policy_denied` once the refusal is recorded.
   */
  async function mayStart(
    principal: Principal,
    about: { readonly runId: RunId; readonly agent: string; readonly sessionId: SessionId },
  ): Promise<RecordedDecision> {
    const decision = decide(
      engine,
      { runId: about.runId, callId: null },
      {
        principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
        action: 'run.start',
        resource: { type: 'Agent', id: about.agent },
        context: { sessionId: about.sessionId },
      },
    );
    if (decision.record.effect === 'allow') return decision;
    await store.commit({ tenantId: principal.tenantId, decisions: [decision.row] });
    const { id, reasons } = decision.record;
    throw new NexusError('policy_denied', denialMessage(decision.record), { details: { decisionId: id, reasons } });
  }

  async function history(session: SessionRow, fresh: boolean): Promise<string[]> {
    if (fresh) return [];
    // Runs of sub-agents are listed too, and may be many.
    let cursor: string | null = null;
    do {
      const page: PageOf<RunRow> = await store.listRuns(
        session.tenantId,
        { sessionId: session.sessionId, status: 'completed' },
        { limit: 50, ...(cursor === null ? {} : { cursor }) },
      );
      const last = page.items.find((run) => run.parentRunId === null);
      if (last !== undefined) return [last.runId];
      cursor = page.nextCursor;
    } while (cursor !== null);
    return [];
  }

  function newRun(
    session: SessionRow,
    agent: AgentVersionRow,
    runId: RunId,
    given: { model?: string | undefined; budget?: BudgetLimits | undefined; parentRunId?: RunId; traceId: string | null },
  ): RunRow {
    const now = clock.now();
    return {
      tenantId: session.tenantId,
      runId,
      sessionId: session.sessionId,
      agent: agent.name,
      agentVersion: agent.version,
      model: given.model ?? null,
      parentRunId: given.parentRunId ?? null,
      status: 'queued',
      waiting: null,
      step: 0,
      lastSeq: 0,
      totals: emptyTotals,
      output: null,
      error: null,
      resumable: false,
      epoch: 0,
      leaseOwner: null,
      dueAt: now,
      cancelRequested: null,
      budget: given.budget ?? null,
      traceId: given.traceId,
      createdAt: now,
      updatedAt: now,
    };
  }

  function runLimits(runId: RunId, ...limits: readonly (BudgetLimits | undefined)[]): readonly LedgerOperation[] {
    const least: BudgetLimits = {};
    for (const unit of budgetUnits) {
      const values = limits.flatMap((entry) => (entry?.[unit] === undefined ? [] : [entry[unit]]));
      if (values.length > 0) least[unit] = Math.min(...values);
    }
    return limitOperations({ kind: 'run', id: runId }, least, { unlimited: 'ignore' });
  }

  async function existing(principal: Principal, runId: string): Promise<RunRow> {
    const row = await store.getRun(principal.tenantId, runId as RunId); // stored as a run's id
    if (row === null) throw new NexusError('internal', 'the run of this idempotency key is gone');
    return row;
  }

  return {
    async start(principal: Principal, request: ChatRequest, options: StartOptions): Promise<{ row: RunRow; created: boolean }> {
      const { row: session, agent, fresh } = await sessionFor(principal, request);
      const runId = ids.next<RunId>('run');
      const decision = await mayStart(principal, { runId, agent: agent.name, sessionId: session.sessionId });
      const deadlineAt = request.deadlineMs === undefined ? null : toTimestamp(clock.now() + request.deadlineMs);
      const span = startRunSpan(
        engine.tracer,
        { runId, tenantId: principal.tenantId, sessionId: session.sessionId, agent: agent.name },
        options.traceparent,
      );
      const { traceparent } = span;
      const created: JournalData<'run.created'> = {
        sessionId: session.sessionId,
        agent: agent.name,
        agentVersion: agent.version,
        ...(request.model === undefined ? {} : { model: request.model }),
        input: inputParts(request),
        ...(request.budget === undefined ? {} : { budget: request.budget }),
        history: await history(session, fresh),
        principal: principal.id,
        ...(deadlineAt === null ? {} : { deadlineAt }),
        traceparent,
        decision: decision.record,
      };
      const row = newRun(session, agent, runId, { model: request.model, budget: request.budget, traceId: span.traceId });
      const context = await createContext(engine, catalog, transcripts, {
        row,
        session,
        principal: principal.id,
        history: created.history,
        parent: null,
        deadlineAt,
        traceparent,
      });
      const base: Commit = {
        tenantId: principal.tenantId,
        ...idempotencyOf(principal, options, 'run', request, runId),
        ...(fresh ? { sessions: [session] } : { openSession: session.sessionId }),
        ledger: [
          ...(fresh ? sessionParts(session.sessionId, undefined) : []),
          ...runLimits(runId, request.budget, agent.definition.budget),
        ],
        decisions: [decision.row],
      };
      let mayBeHere = false;
      try {
        mayBeHere = worker().hasCapacity();
        if (mayBeHere) return await startHere(principal, base, row, created, context, span);
        const queued = await queue(principal, base, row, created);
        span.end();
        return queued;
      } catch (error) {
        // Without a word of the store the run may have been written all the same.
        if (mayBeHere && (!(error instanceof NexusError) || error.code === 'storage_unavailable'))
          worker().disown({ tenantId: principal.tenantId, runId, epoch: 1 });
        span.recordError(error);
        span.end();
        throw error;
      }
    },

    /** Creates the run of a sub-agent call. Its id follows from the call, so doing this again finds it there. */
    async startChild(parent: RunContext, call: ChildCall): Promise<void> {
      const name = subagentOf(call.toolName);
      const runId = call.childRunId as RunId; // written by childRunId()
      if (name === null || (await store.getRun(parent.tenantId, runId)) !== null) return;
      const agent = await catalog.get(parent.tenantId, name);
      const input = call.input as { task: string; maxCostMicroUsd?: number }; // checked against the tool's schema
      const budget = input.maxCostMicroUsd === undefined ? undefined : { costMicroUsd: input.maxCostMicroUsd };
      const created: JournalData<'run.created'> = {
        sessionId: parent.sessionId,
        agent: agent.name,
        agentVersion: agent.version,
        input: [{ type: 'text', text: input.task }],
        ...(budget === undefined ? {} : { budget }),
        history: [],
        principal: parent.principal,
        ...(parent.deadlineAt === null ? {} : { deadlineAt: toTimestamp(parent.deadlineAt) }),
        parent: { runId: parent.runId, callId: call.callId, depth: parent.depth + 1 },
        ...(parent.traceparent === null ? {} : { traceparent: parent.traceparent }),
      };
      const row = newRun(parent.session, agent, runId, {
        budget,
        parentRunId: parent.runId,
        traceId: parent.traceparent?.split('-')[1] ?? null,
      });
      await store.commit({
        tenantId: parent.tenantId,
        createRun: row,
        ledger: runLimits(runId, budget, agent.definition.budget),
        events: [{ type: 'run.created', data: created }],
        idempotency: { key: `child:${runId}`, requestHash: runId, resourceId: runId },
      });
      // A cancel that came before the child was there did not find it.
      const parentRow = await store.getRun(parent.tenantId, parent.runId);
      if (parentRow !== null && parentRow.cancelRequested !== null)
        await store.requestCancel(parent.tenantId, runId, parentRow.cancelRequested);
      worker().wake({ tenantId: parent.tenantId, runId });
    },

    mayStart,
    newRun,
    runLimits,
  };

  async function queue(
    principal: Principal,
    base: Commit,
    row: RunRow,
    created: JournalData<'run.created'>,
  ): Promise<{ row: RunRow; created: boolean }> {
    const result = await store.commit({ ...base, createRun: row, events: [{ type: 'run.created', data: created }] });
    if (result.type === 'duplicate') {
      if (!result.sameRequest) throw idempotencyConflict();
      return { row: await existing(principal, result.resourceId), created: false };
    }
    if (result.type === 'closed') throw sessionClosed(row.sessionId);
    if (result.type !== 'committed') throw new NexusError('internal', `the run could not be written (${result.type})`);
    worker().wake({ tenantId: row.tenantId, runId: row.runId });
    return { row: { ...row, lastSeq: result.events.length }, created: true };
  }

  async function startHere(
    principal: Principal,
    base: Commit,
    queued: RunRow,
    created: JournalData<'run.created'>,
    context: RunContext,
    span: Span,
  ): Promise<{ row: RunRow; created: boolean }> {
    const row: RunRow = { ...queued, status: 'running', epoch: 1, leaseOwner: engine.workerId, dueAt: null, step: 1 };
    const opening = [
      { type: 'run.created' as const, data: created },
      { type: 'run.started' as const, data: { workerId: engine.workerId, epoch: 1 } },
    ];
    const planned = planModelCall(engine, context, foldNew(initialState, opening), { step: 1, newStep: true });
    const target = context.targets[0];
    if (target === undefined) throw new NexusError('model_not_found', `agent ${context.agent.name} has no model`);
    const attempt = planned.type === 'planned' ? planModelAttempt(engine, context, planned.plan, target, 1) : planned;
    if (attempt.type === 'impossible') {
      const { code, message, details } = attempt.error;
      const decisions = [...(base.decisions ?? []), ...(attempt.decision === null ? [] : [attempt.decision.row])];
      await store.commit({ tenantId: principal.tenantId, decisions });
      throw new NexusError(code, message, details === undefined ? {} : { details });
    }
    const proposal = proposeModelAttempt(attempt.plan);
    const limits = base.ledger?.length ?? 0;
    const result = await store.commit({
      ...base,
      createRun: row,
      ledger: [...(base.ledger ?? []), ...proposal.ledger],
      decisions: [...(base.decisions ?? []), ...proposal.decisions],
      events: (outcomes) => [...opening, ...proposal.events(outcomes.slice(limits))],
    });
    switch (result.type) {
      case 'duplicate':
        if (!result.sameRequest) throw idempotencyConflict();
        return { row: await existing(principal, result.resourceId), created: false };
      case 'refused': {
        engine.metrics.budgetOperation('refused');
        const stop = budgetStop(result.refusal, 'model');
        await store.commit({ tenantId: principal.tenantId, decisions: [...(base.decisions ?? []), ...proposal.decisions] });
        throw new NexusError('budget_exceeded', stop.type === 'fail' ? stop.error.message : 'the budget is used up', {
          details: { ...result.refusal },
        });
      }
      case 'closed':
        throw sessionClosed(row.sessionId);
      case 'fenced':
        throw new NexusError('internal', 'a new run was fenced');
      case 'committed': {
        const written = result.events.map(parseEvent);
        const state = fold(written);
        const fence = { tenantId: row.tenantId, runId: row.runId, epoch: 1, owner: engine.workerId };
        worker().adopt({
          context,
          fence,
          state,
          opening: { type: 'begun', written, stored: result.events, attempt: attempt.plan, outcome: result.outcomes[limits] },
          span,
        });
        return { row: { ...row, lastSeq: state.lastSeq, totals: state.totals }, created: true };
      }
    }
  }
}

export type RunStarter = ReturnType<typeof createRunStarter>;
