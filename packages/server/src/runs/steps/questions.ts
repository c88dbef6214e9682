import type { ApprovalDecision, ApprovalKind, JournalData } from '@nexus-agent/protocol';
import type { RecordedDecision } from '#calls';
import { isObject, toTimestamp } from '#core';
import type { RunState, ToolCallState } from '#runs/journal';
import type { ApprovalRow } from '#storage';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { type Proposal, propose } from './proposal.ts';

/** Asks a person about a call: may it run, did it take effect, or what is the answer. */
export function proposeQuestion(
  engine: Engine,
  context: RunContext,
  state: RunState,
  call: ToolCallState,
  kind: ApprovalKind,
  input: unknown,
  decision: RecordedDecision | null,
): Proposal {
  const now = engine.clock.now();
  const approvalId = engine.ids.next<string>('approval');
  const deadlineAt = now + context.agent.approvalTimeoutMs;
  const defaultDecision: ApprovalDecision = kind === 'unknown_outcome' ? 'fail' : 'deny';
  const role = decision?.record.obligations?.flatMap((obligation) =>
    obligation.type === 'require_approval' && obligation.role !== undefined ? [obligation.role] : [],
  )[0];
  const writes = context.tools.some(({ name, permissions }) => name === call.name && permissions.includes('fs.write'));
  const question = questionText(kind, call, input, writes);
  const row: ApprovalRow = {
    tenantId: context.tenantId,
    approvalId,
    runId: context.runId,
    sessionId: context.sessionId,
    callId: call.callId,
    kind,
    status: 'pending',
    toolName: call.name,
    input,
    question,
    role: role ?? null,
    defaultDecision,
    deadlineAt,
    decision: null,
    answer: null,
    decidedBy: null,
    decidedAt: null,
    createdAt: now,
  };
  const data: JournalData<'approval.requested'> = {
    step: state.step,
    callId: call.callId,
    approvalId,
    kind,
    toolName: call.name,
    input,
    question,
    ...(role === undefined ? {} : { role }),
    deadlineAt: toTimestamp(deadlineAt),
    defaultDecision,
    ...(decision === null ? {} : { decision: decision.record }),
  };
  return propose({ approvals: [row], decisions: decision === null ? [] : [decision.row], events: [{ type: 'approval.requested', data }] });
}

function questionText(kind: ApprovalKind, call: ToolCallState, input: unknown, writes: boolean): string {
  if (kind === 'tool_call') return `May ${call.name} run with exactly these arguments?`;
  if (kind === 'unknown_outcome')
    return `${call.name} was started and its worker was lost. Did it take effect? Answer done (with its result), retry or fail.${writes ? ' What it wrote to the files of the session is undone in any case.' : ''}`;
  const { question = null, server, tool } = isObject(input) ? input : {};
  if (typeof question !== 'string') return 'The agent asks for an answer.';
  return typeof server === 'string' ? `The MCP server ${server} asks, in a call of ${String(tool)}: ${question}` : question;
}
