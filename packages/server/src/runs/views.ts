import type {
  Agent,
  Approval,
  ApprovalDecision,
  ApprovalKind,
  BudgetView,
  Key,
  ModelInfo,
  Run,
  Session,
  ToolInfo,
} from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { ModelTarget } from '#llm';
import type { AgentVersionRow, ApprovalRow, KeyRow, RunRow, SessionRow } from '#storage';
import type { Tool } from '#tools';

/** What may be answered to each kind of question. */
export const choicesOf: Readonly<Record<ApprovalKind, readonly ApprovalDecision[]>> = {
  tool_call: ['approve', 'deny'],
  unknown_outcome: ['done', 'retry', 'fail'],
  question: ['answer', 'deny'],
};

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
            ...(row.waiting.childRuns === undefined ? {} : { childRuns: [...row.waiting.childRuns] }),
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

export function approvalView(row: ApprovalRow): Approval {
  return {
    id: row.approvalId,
    runId: row.runId,
    sessionId: row.sessionId,
    kind: row.kind,
    status: row.status,
    toolName: row.toolName,
    arguments: row.input,
    ...(row.question === null ? {} : { question: row.question }),
    ...(row.role === null ? {} : { role: row.role }),
    choices: [...choicesOf[row.kind]],
    defaultDecision: row.defaultDecision,
    deadlineAt: toTimestamp(row.deadlineAt),
    ...(row.decision === null ? {} : { decision: row.decision }),
    ...(row.decidedBy === null ? {} : { decidedBy: row.decidedBy }),
    ...(row.decidedAt === null ? {} : { decidedAt: toTimestamp(row.decidedAt) }),
    ...(row.answer?.note === undefined ? {} : { note: row.answer.note }),
    createdAt: toTimestamp(row.createdAt),
  };
}

export function agentView(row: AgentVersionRow): Agent {
  return { name: row.name, version: row.version, createdAt: toTimestamp(row.createdAt), source: row.source, definition: row.definition };
}

export function keyView(row: KeyRow, secret?: string): Key {
  return {
    id: row.keyId,
    name: row.name,
    tenant: row.tenantId,
    scopes: [...row.scopes],
    createdAt: toTimestamp(row.createdAt),
    ...(row.expiresAt === null ? {} : { expiresAt: toTimestamp(row.expiresAt) }),
    ...(row.revokedAt === null ? {} : { revokedAt: toTimestamp(row.revokedAt) }),
    ...(secret === undefined ? {} : { secret }),
  };
}

export function toolView(tool: Tool): ToolInfo {
  const { name, description, inputSchema, effects, permissions, timeoutMs } = tool;
  return { name, description, inputSchema, effects, permissions: [...permissions], timeoutMs };
}

export function modelView(target: ModelTarget): ModelInfo {
  const { price } = target;
  return {
    id: `${target.provider}/${target.model}`,
    provider: target.provider,
    contextTokens: target.contextTokens,
    simulator: target.simulator,
    ...(price === null
      ? {}
      : { price: { inputMicroUsdPerMillion: price.inputMicroUsdPerMillion, outputMicroUsdPerMillion: price.outputMicroUsdPerMillion } }),
  };
}
