import type { JournalData, RunId } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { ChildCall } from '#runs/drive';
import { type AgentSource, type Engine, type RunContext, subagentOf } from '#runs/steps';
import { newRun, payersOf, runLimits } from './rows.ts';

/**
 * Creates the run of a sub-agent call. Its id follows from the call, so doing this again finds it there. The caller wakes
 * it: true when it is new. Throws `not_found` for an agent that is gone.
 */
export async function startChild(engine: Engine, agents: AgentSource, parent: RunContext, call: ChildCall): Promise<boolean> {
  const { store } = engine;
  const name = subagentOf(call.toolName);
  const runId = call.childRunId as RunId; // written by childRunId()
  if (name === null || (await store.getRun(parent.tenantId, runId)) !== null) return false;
  const agent = await agents.get(parent.tenantId, name);
  const input = call.input as { task: string; maxCostMicroUsd?: number }; // checked against the tool's schema
  const budget = input.maxCostMicroUsd === undefined ? undefined : { costMicroUsd: input.maxCostMicroUsd };
  const created: JournalData<'run.created'> = {
    sessionId: parent.sessionId,
    agent: agent.name,
    agentVersion: agent.version,
    input: [{ type: 'text', text: input.task }],
    ...(budget === undefined ? {} : { budget }),
    history: [],
    principal: parent.charge.onBehalfOf,
    ...payersOf(parent),
    ...(parent.deadlineAt === null ? {} : { deadlineAt: toTimestamp(parent.deadlineAt) }),
    ...(parent.filesOf === parent.sessionId ? {} : { filesOf: parent.filesOf }),
    parent: { runId: parent.runId, callId: call.callId, depth: parent.depth + 1 },
    ...(parent.traceparent === null ? {} : { traceparent: parent.traceparent }),
  };
  const traceId = parent.traceparent?.split('-')[1] ?? null;
  await store.commit({
    tenantId: parent.tenantId,
    createRun: newRun(engine, parent.session, agent, runId, {
      budget,
      parentRunId: parent.runId,
      traceId,
      user: parent.user,
      project: parent.project,
    }),
    ledger: runLimits(runId, budget, agent.definition.budget),
    events: [{ type: 'run.created', data: created }],
    idempotency: { key: `child:${runId}`, requestHash: runId, resourceId: runId },
  });
  // A cancel that came before the child was there did not find it.
  const parentRow = await store.getRun(parent.tenantId, parent.runId);
  if (parentRow !== null && parentRow.cancelRequested !== null)
    await store.requestCancel(parent.tenantId, runId, parentRow.cancelRequested);
  return true;
}
