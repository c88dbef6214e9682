import {
  type Approval,
  type ApprovalAnswer,
  type ApprovalDecision,
  type ApprovalKind,
  AskedForm,
  dictionary,
  type Page,
} from '@nexus-agent/protocol';
import { type CallEngine, denialMessage, recordDecision } from '#calls';
import { isObject, isTooDeep, NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type ApprovedCall, type Wake, whoStarted } from '#runs';
import { type ApprovalRow, type DecisionRow, type PageRequest, viewPage } from '#storage';
import { readFormAnswer } from '#tools';

/** What waits, or waited, for a person. */
export interface Approvals {
  list(principal: Principal, filter: { status?: Approval['status'] }, page: PageRequest): Promise<Page<Approval>>;
  get(principal: Principal, approvalId: string): Promise<Approval>;
  /**
   * Answers a question; its run goes on, whichever process drives it. Throws `invalid_request` for an answer that does not
   * fit the question, `conflict` when it was answered before or its deadline has passed, `forbidden` without the role that
   * the question asks for, `policy_denied` when policy does not let this person decide, or would not let the call run that they
   * allow, `tool_input_invalid` when edited arguments do not fit the tool. After each of these the question waits as before.
   */
  answer(principal: Principal, approvalId: string, answer: ApprovalAnswer): Promise<Approval>;
}

/** What may be answered to each kind of question. */
const choicesOf: Readonly<Record<ApprovalKind, readonly ApprovalDecision[]>> = dictionary({
  tool_call: ['approve', 'deny'],
  unknown_outcome: ['done', 'retry', 'fail'],
  question: ['answer', 'deny'],
});

export interface ApprovalsDependencies {
  readonly engine: CallEngine;
  readonly wake: Wake;
  /** Throws when the call would not run once it is allowed: see `checkApprovedCall`. */
  readonly checkApprovedCall: (call: ApprovedCall) => Promise<void>;
}

export function createApprovals({ engine, wake, checkApprovedCall }: ApprovalsDependencies): Approvals {
  const { store, clock } = engine;

  async function rowOf(principal: Principal, approvalId: string): Promise<Question> {
    const row = await store.getApproval(principal.tenantId, approvalId);
    if (row === null || !isForPeople(row)) throw new NexusError('not_found', `there is no approval ${approvalId}`);
    return row;
  }

  /** Asks policy whether this person may decide. A refusal is recorded here, a permit together with the answer that it lets through. */
  async function mayDecide(principal: Principal, row: Question, answer: ApprovalAnswer): Promise<DecisionRow> {
    const starter = await whoStarted(store, row.tenantId, row.runId);
    const decision = recordDecision(
      engine,
      { runId: row.runId, callId: row.callId },
      {
        principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
        action: 'approval.grant',
        resource: {
          type: 'Approval',
          id: row.approvalId,
          attributes: {
            ...{ tool: row.toolName, kind: row.kind, startedByCaller: starter === principal.id },
            ...(row.role === null ? {} : { role: row.role.toLowerCase() }),
          },
        },
        context: {
          sessionId: row.sessionId,
          answer: answer.decision,
          ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }),
        },
      },
    );
    if (decision.record.effect === 'allow') return decision.row;
    await store.commit({ tenantId: principal.tenantId, decisions: [decision.row] });
    const { reasons } = decision.record;
    throw new NexusError('policy_denied', reasons.includes(ownRun) ? ownRunMessage : denialMessage(decision.record), {
      details: { reasons },
    });
  }

  return {
    async list(principal, { status }, page) {
      const found = await store.listApprovals(principal.tenantId, status === undefined ? {} : { status }, page);
      return viewPage({ ...found, items: found.items.filter(isForPeople) }, approvalView);
    },
    get: async (principal, approvalId) => approvalView(await rowOf(principal, approvalId)),
    async answer(principal, approvalId, answer) {
      const row = await rowOf(principal, approvalId);
      if (row.status !== 'pending') throw answered(row);
      // The clock of this process may just have been set; the run waits by that of the database.
      if (row.deadlineAt <= clock.now() && row.deadlineAt <= (await store.now()))
        throw new NexusError('conflict', `approval ${approvalId} was to be answered before its deadline; ${row.defaultDecision} stands`);
      const result = keptAnswer(row, answer);
      const role = row.role?.toLowerCase();
      if (role !== undefined && !principal.roles.includes(role) && !principal.roles.includes('owner')) throw lacksRole(principal, role);
      const permit = await mayDecide(principal, row, answer);
      if (row.kind !== 'question' && (answer.decision === 'approve' || answer.decision === 'retry'))
        await checkApprovedCall({
          approval: row,
          by: principal.id,
          ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }),
        });
      const given = await store.answerApproval(principal.tenantId, approvalId, {
        decision: answer.decision,
        answer: {
          ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }),
          ...(result === undefined ? {} : { result }),
          ...(answer.note === undefined ? {} : { note: answer.note }),
        },
        decidedBy: principal.id,
        at: clock.now(),
        permit,
      });
      if (given.type === 'not_found') throw new NexusError('not_found', `there is no approval ${approvalId}`);
      if (given.type === 'already') throw answered(given.approval);
      wake({ tenantId: principal.tenantId, runId: row.runId });
      return approvalView({ ...given.approval, kind: row.kind });
    },
  };
}

/** A row that asks a person. */
type Question = ApprovalRow & { readonly kind: ApprovalKind };

function isForPeople(row: ApprovalRow): row is Question {
  return row.kind !== 'client_result';
}

const ownRun = 'default:approval-of-own-run';
const ownRunMessage =
  'this key started the run, so that it does not allow its calls as well; another key with the scope approvals can, or the owner, who can also make a key that may do both: nexus keys create --name <who> --scope runs approvals --role own-approvals';

function answered({ approvalId, status, decision }: ApprovalRow): NexusError {
  const as = decision === null ? '' : ` (${decision})`;
  return new NexusError('conflict', `approval ${approvalId} is ${status}${as} and cannot be answered again`);
}

/** Does not say who has the role: whoever may not answer need not know whose keys there are. */
function lacksRole(principal: Principal, role: string): NexusError {
  const has = principal.roles.join(', ') || 'none';
  return new NexusError(
    'forbidden',
    `this approval asks for the role ${role}, and you have ${has}; a key with that role can answer, or the owner, who can make one: nexus keys create --name <who> --scope approvals --role ${role}`,
    { details: { role, has: [...principal.roles] } },
  );
}

/** What an MCP server asks. The input of what a model asks has no `server`. */
function formOfQuestion({ kind, input }: Pick<Question, 'kind' | 'input'>): AskedForm | undefined {
  const form = kind === 'question' ? AskedForm.safeParse(input).data : undefined;
  return form?.fields === undefined && form?.url === undefined ? undefined : form;
}

/** What is kept of the answer. Throws `invalid_request` for one that does not fit the question. */
function keptAnswer(row: Question, answer: ApprovalAnswer): string | undefined {
  const form = formOfQuestion(row);
  if (form === undefined || answer.decision !== 'answer') {
    if (answer.content !== undefined) throw new NexusError('invalid_request', 'content: only the answer to a form has one');
    checkAnswer(row, answer);
    return answer.result;
  }
  if (answer.arguments !== undefined) throw new NexusError('invalid_request', 'arguments: only an approve may edit the arguments');
  if (answer.content !== undefined && answer.result !== undefined)
    throw new NexusError(
      'invalid_request',
      'result: a form is answered with `content`, or with the same as JSON in `result`, not with both',
    );
  const read = readFormAnswer(form, answer.content ?? contentIn(answer.result));
  if (read.type === 'unfit') throw new NexusError('invalid_request', read.faults.slice(0, 20).join('; '));
  return JSON.stringify(read.content);
}

/** For callers that know only of `result`. */
function contentIn(result: string | undefined): Record<string, unknown> {
  if (result === undefined || result === '') return {};
  try {
    const content: unknown = isTooDeep(result) ? null : JSON.parse(result);
    if (isObject(content)) return content;
  } catch {
    // said below
  }
  throw new NexusError('invalid_request', 'result: the answer to a form is a JSON object of its fields');
}

function checkAnswer(row: Question, answer: ApprovalAnswer): void {
  const choices = choicesOf[row.kind];
  if (!choices.includes(answer.decision)) {
    throw new NexusError(
      'invalid_request',
      `decision: ${answer.decision} does not answer this question; choose one of ${choices.join(', ')}`,
    );
  }
  if (answer.arguments !== undefined && answer.decision !== 'approve')
    throw new NexusError('invalid_request', 'arguments: only an approve may edit the arguments');
  if (answer.result !== undefined && answer.decision !== 'answer' && answer.decision !== 'done')
    throw new NexusError('invalid_request', `result: only answer and done have one; what ${answer.decision} says goes into \`note\``);
  if (answer.decision === 'answer' && answer.result === undefined)
    throw new NexusError('invalid_request', 'result: an answer needs its text in `result`');
}

function approvalView(row: Question): Approval {
  const form = formOfQuestion(row);
  return {
    id: row.approvalId,
    runId: row.runId,
    sessionId: row.sessionId,
    kind: row.kind,
    status: row.status,
    toolName: row.toolName,
    arguments: row.answer?.arguments ?? row.input,
    ...(row.question === null ? {} : { question: row.question }),
    ...(form === undefined ? {} : { form }),
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
