import type { RunId } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import type { ApprovalAnswerResult, ApprovalRow, GivenAnswer, PageOf, PageRequest } from '#storage/contract';
import {
  beyond,
  byKey,
  change,
  cutPage,
  defineTable,
  fittingRows,
  insertMany,
  json,
  jsonNullable,
  type Program,
  parse,
  parseNullable,
  queriesOn,
  type Row,
  run,
  startOf,
  storable,
} from '#storage/program';
import { decisionToRow, insertDecisions } from './decisions.ts';
import { lockAndWakeRun } from './queue.ts';

export const approvals = defineTable('approvals', {
  tenant_id: 'text',
  approval_id: 'text',
  run_id: 'text',
  session_id: 'text',
  call_id: 'text',
  kind: 'text',
  status: 'text',
  tool_name: 'text',
  input: 'text',
  question: 'text?',
  role: 'text?',
  default_decision: 'text',
  deadline_at: 'int',
  decision: 'text?',
  answer: 'text?',
  decided_by: 'text?',
  decided_at: 'int?',
  created_at: 'int',
});
type Stored = Row<typeof approvals>;

function approvalFromRow(row: Stored): ApprovalRow {
  return {
    tenantId: row.tenant_id as ApprovalRow['tenantId'],
    approvalId: row.approval_id,
    runId: row.run_id as ApprovalRow['runId'],
    sessionId: row.session_id as ApprovalRow['sessionId'],
    callId: row.call_id,
    kind: row.kind as ApprovalRow['kind'],
    status: row.status as ApprovalRow['status'],
    toolName: row.tool_name,
    input: parse(row.input),
    question: parseNullable(row.question),
    role: row.role,
    defaultDecision: row.default_decision as ApprovalRow['defaultDecision'],
    deadlineAt: row.deadline_at,
    decision: row.decision as ApprovalRow['decision'],
    answer: parseNullable(row.answer),
    decidedBy: row.decided_by,
    decidedAt: row.decided_at,
    createdAt: row.created_at,
  };
}

export function approvalToRow(approval: ApprovalRow): Stored {
  return {
    tenant_id: approval.tenantId,
    approval_id: approval.approvalId,
    run_id: approval.runId,
    session_id: approval.sessionId,
    call_id: storable(approval.callId, 'callId'),
    kind: approval.kind,
    status: approval.status,
    tool_name: storable(approval.toolName, 'toolName'),
    input: json(approval.input),
    question: jsonNullable(approval.question),
    role: storable(approval.role, 'role'),
    default_decision: approval.defaultDecision,
    deadline_at: approval.deadlineAt,
    decision: approval.decision,
    answer: jsonNullable(approval.answer),
    decided_by: storable(approval.decidedBy, 'decidedBy'),
    decided_at: approval.decidedAt,
    created_at: approval.createdAt,
  };
}

const { statement, query } = queriesOn(approvals);
/** What a query of this file is built with. */
type Builder = Parameters<Parameters<typeof query>[0]>[0];

const approvalById = statement('approval_by_id', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('approvals').selectAll().where('tenant_id', '=', params.tenant).where('approval_id', '=', params.id),
);

export function* getApproval(tenant: string, id: string): Program<ApprovalRow | null> {
  const [row] = yield* run(approvalById, { tenant, id });
  return row ? approvalFromRow(row) : null;
}

/** Newest first; fewer on a page where their arguments are long. */
export function* listApprovals(
  tenant: string,
  filter: { status?: ApprovalRow['status']; runId?: RunId },
  page: PageRequest,
): Program<PageOf<ApprovalRow>> {
  const position = startOf(page, ['number', 'string']);
  const found = ({ db }: Builder) => {
    let select = db.selectFrom('approvals').where('tenant_id', '=', tenant).where('kind', '!=', sql.lit('client_result'));
    if (filter.runId !== undefined) select = select.where('run_id', '=', filter.runId);
    // Those of one run are few: the index of all of a state is kept out.
    if (filter.status !== undefined)
      select = select.where(filter.runId === undefined ? sql.ref('status') : sql`status || ''`, '=', filter.status);
    if (position) select = select.where(beyond(['created_at', 'approval_id'], position, 'desc'));
    return select.orderBy('created_at', 'desc').orderBy('approval_id', 'desc');
  };
  const bytes = sql<number>`octet_length(input) + coalesce(octet_length(answer), 0)`.as('bytes');
  const limit = fittingRows(yield* query((builder) => found(builder).select(bytes).limit(page.limit)), page.limit);
  const rows = yield* query((builder) =>
    found(builder)
      .selectAll()
      .limit(limit + 1),
  );
  return cutPage(rows, limit, approvalFromRow, (row) => [row.created_at, row.approval_id]);
}

interface AnswerParams extends Record<string, string | number | null> {
  tenant: string;
  id: string;
  decision: string;
  answer: string | null;
  decidedBy: string;
  at: number;
}

const decide = statement('decide_approval', ({ db }, params: AnswerParams) =>
  db
    .updateTable('approvals')
    .set({ status: 'decided', decision: params.decision, answer: params.answer, decided_by: params.decidedBy, decided_at: params.at })
    .where('tenant_id', '=', params.tenant)
    .where('approval_id', '=', params.id)
    .where('status', '=', 'pending'),
);

/** Approvals change only under the lock of their run, which commits take first too. */
export function* answerApproval(tenant: string, id: string, answer: GivenAnswer): Program<ApprovalAnswerResult> {
  const found = yield* getApproval(tenant, id);
  if (!found) return { type: 'not_found' };
  if (found.status !== 'pending') return { type: 'already', approval: found };
  let decided = false;
  yield* lockAndWakeRun(tenant, found.runId, function* () {
    const written = yield* change(decide, {
      tenant,
      id,
      decision: answer.decision,
      answer: jsonNullable(answer.answer),
      decidedBy: storable(answer.decidedBy, 'decidedBy'),
      at: answer.at,
    });
    decided = written > 0;
    if (decided && answer.permit !== undefined) yield* insertDecisions([decisionToRow(tenant, answer.permit)]);
  });
  const approval = (yield* getApproval(tenant, id)) ?? found;
  return { type: decided ? 'decided' : 'already', approval };
}

export function insertApprovals(rows: Stored[]): Program<number> {
  return insertMany(approvals, rows.sort(byKey('approval_id')));
}

const closePending = statement('close_approval', ({ db }, params: { tenant: string; id: string; status: string }) =>
  db
    .updateTable('approvals')
    .set({ status: params.status })
    .where('tenant_id', '=', params.tenant)
    .where('approval_id', '=', params.id)
    .where('status', '=', 'pending'),
);

/** Closes an approval without an answer, unless it has one. */
export function closeApproval(tenant: string, id: string, status: 'expired' | 'cancelled' | 'decided'): Program<number> {
  return change(closePending, { tenant, id, status });
}
