import type { BudgetLimits, BudgetScope, BudgetView, Run, Session, TenantId } from '@nexus-agent/protocol';
import { budgetView } from '#budget';
import { toTimestamp } from '#core';
import type { Engine } from '#runs/steps';
import type { RunRow, SessionRow } from '#storage';

export function runView(row: RunRow, budget?: BudgetView): Run {
  return {
    id: row.runId,
    sessionId: row.sessionId,
    status: row.status,
    agent: row.agent,
    agentVersion: row.agentVersion,
    ...(row.model === null ? {} : { model: row.model }),
    ...(row.parentRunId === null ? {} : { parentRunId: row.parentRunId }),
    ...(row.waiting === null
      ? {}
      : {
          waitingFor: {
            reason: row.waiting.reason,
            ...(row.waiting.approvals === undefined ? {} : { approvals: [...row.waiting.approvals] }),
            ...(row.waiting.behind === undefined ? {} : { behind: row.waiting.behind }),
            ...(row.waiting.childRuns === undefined ? {} : { childRuns: [...row.waiting.childRuns] }),
            ...(row.waiting.clientCalls === undefined ? {} : { clientCalls: [...row.waiting.clientCalls] }),
            ...(row.waiting.until === undefined ? {} : { until: row.waiting.until }),
          },
        }),
    step: row.step,
    lastSeq: row.lastSeq,
    totals: row.totals,
    ...(row.output === null ? {} : { output: row.output }),
    ...(row.error === null ? {} : { error: row.error }),
    ...(row.status === 'failed' ? { resumable: row.resumable } : {}),
    ...(budget === undefined ? {} : { budget }),
    ...(row.traceId === null ? {} : { traceId: row.traceId }),
    ...(row.user === null ? {} : { user: row.user }),
    ...(row.project === null ? {} : { project: row.project }),
    createdAt: toTimestamp(row.createdAt),
    updatedAt: toTimestamp(row.updatedAt),
  };
}

export function sessionView(row: SessionRow, budget: BudgetView): Session {
  return {
    id: row.sessionId,
    status: row.status,
    agent: row.agent,
    agentVersion: row.agentVersion,
    budget,
    ...(row.policy === null ? {} : { policy: row.policy }),
    ...(row.user === null ? {} : { user: row.user }),
    ...(row.project === null ? {} : { project: row.project }),
    ...(row.metadata === null ? {} : { metadata: row.metadata }),
    createdAt: toTimestamp(row.createdAt),
  };
}

/** What a session shows before anything was spent: zero for each unit. */
export function untouchedBudget(limits: BudgetLimits | undefined): BudgetView {
  const none = { costMicroUsd: 0, tokens: 0, toolCalls: 0, wallMs: 0 };
  return { limit: limits ?? {}, spent: none, reserved: none };
}

async function budgetOf({ store, clock }: Engine, { tenantId }: Pick<SessionRow, 'tenantId'>, scope: BudgetScope): Promise<BudgetView> {
  const { items } = await store.listBudgets(tenantId, { scopes: [scope] }, clock.now(), { limit: 100 });
  return budgetView(items);
}

/** A session with what was spent in it. */
export async function viewOfSession(engine: Engine, row: SessionRow): Promise<Session> {
  return sessionView(row, await budgetOf(engine, row, { kind: 'session', id: row.sessionId }));
}

/** Balances of one scope: units in windows. */
const rowsOfScope = 12;

/** The same of many, whose balances are read together. */
export async function viewsOfSessions({ store, clock }: Engine, tenantId: TenantId, rows: readonly SessionRow[]): Promise<Session[]> {
  const scopes = rows.map(({ sessionId }) => ({ kind: 'session' as const, id: sessionId }));
  const { items } = await store.listBudgets(tenantId, { scopes }, clock.now(), { limit: rowsOfScope * Math.max(1, rows.length) });
  const bySession = Map.groupBy(items, ({ scope }) => scope.id);
  return rows.map((row) => sessionView(row, budgetView(bySession.get(row.sessionId) ?? [])));
}

/** A run with its budget: its own when it has one, else that of its session. */
export async function viewOfRun(engine: Engine, row: RunRow): Promise<Run> {
  const scope: BudgetScope = row.budget === null ? { kind: 'session', id: row.sessionId } : { kind: 'run', id: row.runId };
  return runView(row, await budgetOf(engine, row, scope));
}
