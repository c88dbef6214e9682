import {
  type AgentDefinition,
  type Approval,
  type ApprovalAnswer,
  type BudgetRow,
  type BudgetScope,
  type BudgetView,
  isTerminal,
  type JournalData,
  maxBudgetAmount,
  type Page,
  type Run,
  type RunForkRequest,
  type RunId,
  type Session,
  type SessionCreateRequest,
  type SessionId,
  type SetBudgetRequest,
} from '@nexus-agent/protocol';
import { budgetView, limitOperations } from '#budget';
import { decide, denialMessage, executeToolDirectly } from '#calls';
import { type AgentCatalog, usageByDay } from '#control';
import { NexusError } from '#core';
import { createKeys } from '#identity';
import type { Worker } from '#runs/dispatch';
import { startRunSpan } from '#runs/drive';
import { forkEvents, listMessages, parseEvent, readJournal, replayRun } from '#runs/journal';
import { idempotencyConflict, idempotencyOf, inputParts, newSession, type RunStarter, sessionClosed, sessionParts } from '#runs/start';
import type { Engine } from '#runs/steps';
import { follow, wireJson } from '#runs/stream';
import type { PageOf, RunRow, SessionRow } from '#storage';
import type { CreateOptions, Principal, RunService } from './types.ts';
import { agentView, approvalView, choicesOf, modelView, runView, sessionView, toolView } from './views.ts';

export interface ServiceDependencies {
  readonly engine: Engine;
  readonly catalog: AgentCatalog;
  readonly starter: RunStarter;
  readonly worker: Worker;
  readonly defaultAgent: string;
  readonly greeting: string;
  /** Server secret under which API keys are hashed. */
  readonly pepper: Uint8Array;
}

function pageOf<Row, View>(rows: PageOf<Row>, view: (row: Row) => View): Page<View> {
  return { data: rows.items.map(view), nextCursor: rows.nextCursor };
}

/** The orchestrator's surface over the store, the starter and the worker. */
export function createRunService({ engine, catalog, starter, worker, defaultAgent, greeting, pepper }: ServiceDependencies): RunService {
  const { store, clock, ids } = engine;
  const keys = createKeys({ store, clock, ids, pepper });

  async function sessionRow(principal: Principal, sessionId: string): Promise<SessionRow> {
    const row = await store.getSession(principal.tenantId, sessionId as SessionId); // an unknown id is simply not found
    if (row === null) throw new NexusError('not_found', `there is no session ${sessionId}`);
    return row;
  }

  async function openSession(principal: Principal, sessionId: string): Promise<SessionRow> {
    const row = await sessionRow(principal, sessionId);
    if (row.status === 'closed') throw sessionClosed(sessionId);
    return row;
  }

  async function runRow(principal: Principal, runId: string): Promise<RunRow> {
    const row = await store.getRun(principal.tenantId, runId as RunId); // an unknown id is simply not found
    if (row === null) throw new NexusError('not_found', `there is no run ${runId}`);
    return row;
  }

  async function budgetsOf(principal: Principal, scope: BudgetScope): Promise<BudgetView> {
    const { items } = await store.listBudgets(principal.tenantId, { scopes: [scope] }, clock.now(), { limit: 100 });
    return budgetView(items);
  }

  async function viewOfSession(principal: Principal, row: SessionRow): Promise<Session> {
    return sessionView(row, await budgetsOf(principal, { kind: 'session', id: row.sessionId }));
  }

  async function viewOfRun(principal: Principal, row: RunRow): Promise<Run> {
    return runView(
      row,
      await budgetsOf(principal, row.budget === null ? { kind: 'session', id: row.sessionId } : { kind: 'run', id: row.runId }),
    );
  }

  /** Zero for each unit: what a session shows before anything was spent. */
  function untouched(limits: SessionCreateRequest['budget']): BudgetView {
    const none = { costMicroUsd: 0, tokens: 0, toolCalls: 0, wallMs: 0 };
    return { limit: limits ?? {}, spent: none, reserved: none };
  }

  async function createSession(
    principal: Principal,
    request: SessionCreateRequest,
    options: CreateOptions,
  ): Promise<{ session: Session; created: boolean }> {
    const agent = await catalog.get(principal.tenantId, request.agent ?? defaultAgent);
    const row = newSession(engine, principal, agent, request);
    const result = await store.commit({
      tenantId: principal.tenantId,
      ...idempotencyOf(principal, options, 'session', request, row.sessionId),
      sessions: [row],
      ledger: sessionParts(row.sessionId, request.budget),
    });
    if (result.type === 'committed') return { session: sessionView(row, untouched(request.budget)), created: true };
    if (result.type !== 'duplicate') throw new NexusError('internal', `the session could not be written (${result.type})`);
    if (!result.sameRequest) throw idempotencyConflict();
    return { session: await viewOfSession(principal, await sessionRow(principal, result.resourceId)), created: false };
  }

  async function cancelRun(principal: Principal, runId: string, reason = 'cancelled by request'): Promise<Run> {
    const row = await runRow(principal, runId);
    if (!isTerminal(row.status)) {
      await store.requestCancel(principal.tenantId, row.runId, reason);
      worker.wake({ tenantId: principal.tenantId, runId: row.runId, cancel: reason });
      const { items } = await store.listRuns(principal.tenantId, { parentRunId: row.runId }, { limit: 100 });
      for (const child of items) await cancelRun(principal, child.runId, reason);
    }
    return viewOfRun(principal, await runRow(principal, runId));
  }

  async function forkRun(
    principal: Principal,
    runId: string,
    request: RunForkRequest,
    options: CreateOptions,
  ): Promise<{ run: Run; created: boolean }> {
    const original = await runRow(principal, runId);
    const session = await openSession(principal, original.sessionId);
    const journal = [];
    for await (const stored of readJournal(store, principal.tenantId, original.runId)) journal.push(parseEvent(stored));
    const first = journal[0];
    if (first?.type !== 'run.created') throw new NexusError('replay_diverged', 'the journal does not begin with run.created');
    const agent = await catalog.get(principal.tenantId, original.agent, original.agentVersion);
    const newId = ids.next<RunId>('run');
    const model = request.model ?? original.model ?? undefined;
    const span = startRunSpan(
      engine.tracer,
      { runId: newId, tenantId: principal.tenantId, sessionId: session.sessionId, agent: agent.name },
      undefined,
    );
    span.end();
    const { traceparent, traceId } = span;
    const decision = await starter.mayStart(principal, { runId: newId, agent: agent.name, sessionId: session.sessionId });
    const { parent: _parent, deadlineAt: _deadline, budget: _budget, model: _model, ...kept } = first.data;
    const created = (afterSeq: number): JournalData<'run.created'> => ({
      ...kept,
      ...(model === undefined ? {} : { model }),
      ...(request.budget === undefined ? {} : { budget: request.budget }),
      ...(request.input === undefined ? {} : { input: inputParts({ input: request.input }) }),
      principal: principal.id,
      forkOf: { runId: original.runId, afterSeq },
      traceparent,
      decision: decision.record,
    });
    const { events } = forkEvents(journal, created, request.afterSeq);
    const row = starter.newRun(session, agent, newId, { model, budget: request.budget, traceId });
    const result = await store.commit({
      tenantId: principal.tenantId,
      ...idempotencyOf(principal, options, `fork:${runId}`, request, newId),
      openSession: session.sessionId,
      createRun: row,
      ledger: starter.runLimits(newId, request.budget, agent.definition.budget),
      decisions: [decision.row],
      events,
    });
    if (result.type === 'duplicate') {
      if (!result.sameRequest) throw idempotencyConflict();
      return { run: await viewOfRun(principal, await runRow(principal, result.resourceId)), created: false };
    }
    if (result.type === 'closed') throw sessionClosed(session.sessionId);
    if (result.type !== 'committed') throw new NexusError('internal', `the fork could not be written (${result.type})`);
    worker.wake({ tenantId: principal.tenantId, runId: newId });
    return { run: runView({ ...row, lastSeq: result.events.length }), created: true };
  }

  async function answerApproval(principal: Principal, approvalId: string, answer: ApprovalAnswer): Promise<Approval> {
    const row = await store.getApproval(principal.tenantId, approvalId);
    if (row === null) throw new NexusError('not_found', `there is no approval ${approvalId}`);
    if (row.status === 'pending' && row.deadlineAt <= clock.now())
      throw new NexusError('conflict', `approval ${approvalId} was to be answered before its deadline; ${row.defaultDecision} stands`);
    const choices = choicesOf[row.kind];
    if (!choices.includes(answer.decision)) {
      throw new NexusError(
        'invalid_request',
        `decision: ${answer.decision} does not answer this question; choose one of ${choices.join(', ')}`,
      );
    }
    if (answer.arguments !== undefined && answer.decision !== 'approve')
      throw new NexusError('invalid_request', 'arguments: only an approve may edit the arguments');
    if (answer.decision === 'answer' && answer.result === undefined)
      throw new NexusError('invalid_request', 'result: an answer needs its text in `result`');
    if (row.role !== null && !principal.roles.includes(row.role) && !principal.roles.includes('owner')) {
      throw new NexusError('forbidden', `this approval asks for the role ${row.role}`);
    }
    const decision = decide(
      engine,
      { runId: row.runId, callId: row.callId },
      {
        principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
        action: 'approval.grant',
        resource: {
          type: 'Approval',
          id: approvalId,
          attributes: { tool: row.toolName, kind: row.kind, ...(row.role === null ? {} : { role: row.role }) },
        },
        context: { sessionId: row.sessionId, ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }) },
      },
    );
    await store.commit({ tenantId: principal.tenantId, decisions: [decision.row] });
    if (decision.record.effect !== 'allow') throw new NexusError('policy_denied', denialMessage(decision.record));
    const result = await store.answerApproval(principal.tenantId, approvalId, {
      decision: answer.decision,
      answer: {
        ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }),
        ...(answer.result === undefined ? {} : { result: answer.result }),
        ...(answer.note === undefined ? {} : { note: answer.note }),
      },
      decidedBy: principal.id,
      at: clock.now(),
    });
    if (result.type === 'not_found') throw new NexusError('not_found', `there is no approval ${approvalId}`);
    if (result.type === 'already') {
      throw new NexusError(
        'conflict',
        `approval ${approvalId} is ${result.approval.status}${result.approval.decision === null ? '' : ` (${result.approval.decision})`} and cannot be answered again`,
      );
    }
    worker.wake({ tenantId: principal.tenantId, runId: row.runId });
    return approvalView(result.approval);
  }

  async function setBudget(principal: Principal, request: SetBudgetRequest): Promise<BudgetRow> {
    const { scope, unit, window, limit } = request;
    if (scope.kind === 'tenant' && scope.id !== principal.tenantId) throw new NexusError('not_found', `there is no tenant ${scope.id}`);
    await store.commit({
      tenantId: principal.tenantId,
      ledger: limitOperations(scope, { [unit]: limit }, { window, unlimited: 'ignore' }),
    });
    const { items } = await store.listBudgets(principal.tenantId, { scopes: [scope] }, clock.now(), { limit: 100 });
    const row = items.find((item) => item.unit === unit && item.window === window);
    if (row === undefined) throw new NexusError('internal', 'the budget was written and is not there');
    return budgetRow(row);
  }

  return {
    greeting,
    createSession,
    getSession: async (principal, sessionId) => viewOfSession(principal, await sessionRow(principal, sessionId)),
    async listSessions(principal, page) {
      const { items, nextCursor } = await store.listSessions(principal.tenantId, page);
      return { data: await Promise.all(items.map((row) => viewOfSession(principal, row))), nextCursor };
    },
    async closeSession(principal, sessionId) {
      const row = await sessionRow(principal, sessionId);
      await store.closeSession(principal.tenantId, row.sessionId);
      for (const status of ['running', 'waiting', 'queued'] as const) {
        let cursor: string | null = null;
        do {
          const page: PageOf<RunRow> = await store.listRuns(
            principal.tenantId,
            { sessionId: row.sessionId, status },
            { limit: 100, ...(cursor === null ? {} : { cursor }) },
          );
          for (const run of page.items) await cancelRun(principal, run.runId, 'the session was closed');
          cursor = page.nextCursor;
        } while (cursor !== null);
      }
    },
    listMessages: async (principal, sessionId, page) =>
      listMessages(store, principal.tenantId, (await sessionRow(principal, sessionId)).sessionId, page),

    async startRun(principal, request, options) {
      const { row, created } = await starter.start(principal, request, options);
      return { run: runView(row), created };
    },
    getRun: async (principal, runId) => viewOfRun(principal, await runRow(principal, runId)),
    async listRuns(principal, { sessionId, status }, page) {
      const filter = {
        ...(sessionId === undefined ? {} : { sessionId: sessionId as SessionId }),
        ...(status === undefined ? {} : { status }),
      }; // an unknown id lists nothing
      return pageOf(await store.listRuns(principal.tenantId, filter, page), (row) => runView(row));
    },
    cancelRun,
    async resumeRun(principal, runId) {
      const row = await runRow(principal, runId);
      await openSession(principal, row.sessionId);
      const decision = await starter.mayStart(principal, row);
      await store.commit({ tenantId: principal.tenantId, decisions: [decision.row] });
      if (!(await store.requeueRun(principal.tenantId, row.runId))) {
        throw new NexusError(
          'conflict',
          `run ${runId} is ${row.status}${row.status === 'failed' ? ' and cannot be resumed' : ''}; only a failed run that is resumable can be resumed`,
        );
      }
      worker.wake({ tenantId: principal.tenantId, runId: row.runId });
      return viewOfRun(principal, await runRow(principal, runId));
    },
    forkRun,
    async replayRun(principal, runId) {
      return replayRun(store, principal.tenantId, await runRow(principal, runId));
    },
    async readEvents(principal, runId, range) {
      const row = await runRow(principal, runId);
      const events = await store.readEvents(principal.tenantId, row.runId, range);
      const last = events.at(-1);
      return {
        events: events.map((event) => wireJson(row.runId, event)),
        nextAfter: events.length === range.limit && last !== undefined ? last.seq : null,
      };
    },
    async *follow(principal, runId, cursor, options) {
      const row = await runRow(principal, runId);
      if (cursor.seq > row.lastSeq) {
        throw new NexusError(
          'invalid_request',
          `Last-Event-ID ${cursor.seq} is beyond the log of run ${runId}, which has ${row.lastSeq} events`,
        );
      }
      yield* follow({
        store,
        hub: engine.hub,
        tenantId: principal.tenantId,
        runId: row.runId,
        cursor,
        signal: options.signal,
        untilIdle: options.untilIdle ?? false,
        ended: isTerminal(row.status),
      });
    },
    async listRunDecisions(principal, runId, page) {
      const row = await runRow(principal, runId);
      return pageOf(await store.listDecisions(principal.tenantId, { runId: row.runId }, page), (decision) => decision);
    },

    async listApprovals(principal, { status }, page) {
      return pageOf(await store.listApprovals(principal.tenantId, status === undefined ? {} : { status }, page), approvalView);
    },
    async getApproval(principal, approvalId) {
      const row = await store.getApproval(principal.tenantId, approvalId);
      if (row === null) throw new NexusError('not_found', `there is no approval ${approvalId}`);
      return approvalView(row);
    },
    answerApproval,

    listAgents: async (principal, page) => pageOf(await catalog.list(principal.tenantId, page), agentView),
    getAgent: async (principal, name, version) => agentView(await catalog.get(principal.tenantId, name, version)),
    putAgent: async (principal, definition: AgentDefinition) => agentView(await catalog.put(principal.tenantId, definition)),

    listTools: async () => engine.tools.list().map(toolView),
    executeTool: (principal, name, request, signal) => executeToolDirectly(engine, catalog, principal, name, request, signal),
    listModels: async () => (await engine.llm.list()).map(modelView),

    async listBudgets(principal, { scope }, page) {
      return pageOf(
        await store.listBudgets(principal.tenantId, scope === undefined ? {} : { scopes: [scope] }, clock.now(), page),
        budgetRow,
      );
    },
    setBudget,
    usage: (principal, days) => usageByDay(store, principal.tenantId, clock.now(), days),

    createKey: keys.create,
    listKeys: keys.list,
    revokeKey: keys.revoke,
    authenticate: keys.authenticate,

    async ready() {
      if (worker.draining) return { ready: false, reason: 'this process is draining' };
      try {
        await store.listSessions('default' as Principal['tenantId'], { limit: 1 }); // any tenant does: the question is whether the database answers
        return { ready: true };
      } catch {
        return { ready: false, reason: 'the database does not answer' };
      }
    },
  };
}

function budgetRow(row: BudgetRow & { readonly limited: boolean }): BudgetRow {
  const { limited, ...rest } = row;
  return limited ? rest : { ...rest, limit: maxBudgetAmount };
}
