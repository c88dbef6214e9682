import type { Approval, ApprovalAnswer, ApprovalDecision, ApprovalKind, Page } from '@nexus-agent/protocol';
import { type CallEngine, denialMessage, recordDecision } from '#calls';
import { NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { Wake } from '#runs';
import { type ApprovalRow, type PageRequest, viewPage } from '#storage';

/** What waits, or waited, for a person. */
export interface Approvals {
  list(principal: Principal, filter: { status?: Approval['status'] }, page: PageRequest): Promise<Page<Approval>>;
  get(principal: Principal, approvalId: string): Promise<Approval>;
  /**
   * Answers a question; its run goes on, whichever process drives it. Throws `invalid_request` for an answer that does not
   * fit the question, `conflict` when it was answered before or its deadline has passed, `forbidden` without the role that
   * the question asks for, `policy_denied` when policy does not let this person decide.
   */
  answer(principal: Principal, approvalId: string, answer: ApprovalAnswer): Promise<Approval>;
}

/** What may be answered to each kind of question. */
const choicesOf: Readonly<Record<ApprovalKind, readonly ApprovalDecision[]>> = {
  tool_call: ['approve', 'deny'],
  unknown_outcome: ['done', 'retry', 'fail'],
  question: ['answer', 'deny'],
};

export function createApprovals({ engine, wake }: { readonly engine: CallEngine; readonly wake: Wake }): Approvals {
  const { store, clock } = engine;

  async function rowOf(principal: Principal, approvalId: string): Promise<ApprovalRow> {
    const row = await store.getApproval(principal.tenantId, approvalId);
    if (row === null) throw new NexusError('not_found', `there is no approval ${approvalId}`);
    return row;
  }

  /** Asks policy whether this person may decide, and records the answer. */
  async function mayDecide(principal: Principal, row: ApprovalRow, answer: ApprovalAnswer): Promise<void> {
    const decision = recordDecision(
      engine,
      { runId: row.runId, callId: row.callId },
      {
        principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
        action: 'approval.grant',
        resource: {
          type: 'Approval',
          id: row.approvalId,
          attributes: { tool: row.toolName, kind: row.kind, ...(row.role === null ? {} : { role: row.role }) },
        },
        context: { sessionId: row.sessionId, ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }) },
      },
    );
    await store.commit({ tenantId: principal.tenantId, decisions: [decision.row] });
    if (decision.record.effect !== 'allow') throw new NexusError('policy_denied', denialMessage(decision.record));
  }

  return {
    async list(principal, { status }, page) {
      return viewPage(await store.listApprovals(principal.tenantId, status === undefined ? {} : { status }, page), approvalView);
    },
    get: async (principal, approvalId) => approvalView(await rowOf(principal, approvalId)),
    async answer(principal, approvalId, answer) {
      const row = await rowOf(principal, approvalId);
      if (row.status === 'pending' && row.deadlineAt <= clock.now())
        throw new NexusError('conflict', `approval ${approvalId} was to be answered before its deadline; ${row.defaultDecision} stands`);
      checkAnswer(row, answer);
      if (row.role !== null && !principal.roles.includes(row.role) && !principal.roles.includes('owner')) {
        throw new NexusError('forbidden', `this approval asks for the role ${row.role}`);
      }
      await mayDecide(principal, row, answer);
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
        const { status, decision } = result.approval;
        const as = decision === null ? '' : ` (${decision})`;
        throw new NexusError('conflict', `approval ${approvalId} is ${status}${as} and cannot be answered again`);
      }
      wake({ tenantId: principal.tenantId, runId: row.runId });
      return approvalView(result.approval);
    },
  };
}

function checkAnswer(row: ApprovalRow, answer: ApprovalAnswer): void {
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
}

function approvalView(row: ApprovalRow): Approval {
  return {
    id: row.approvalId,
    runId: row.runId,
    sessionId: row.sessionId,
    kind: row.kind,
    status: row.status,
    toolName: row.toolName,
    arguments: row.answer?.arguments ?? row.input,
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
