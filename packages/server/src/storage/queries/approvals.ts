import type { ApprovalDecision, RunId } from '@nexus-agent/protocol';
import { beyond, decodeCursor, pageOf } from '../paging.ts';
import { change, type Program, query, run, statement } from '../program.ts';
import { answerToJson, approvalFromRow, storable } from '../rows.ts';
import type { ApprovalAnswerResult, ApprovalRow, PageOf, PageRequest } from '../types.ts';
import { lockAndWakeRun } from './dispatch.ts';

const approvalById = statement('approval_by_id', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('approvals').selectAll().where('tenant_id', '=', params.tenant).where('approval_id', '=', params.id),
);

export function* getApproval(tenant: string, id: string): Program<ApprovalRow | null> {
  const [row] = yield* run(approvalById, { tenant, id });
  return row ? approvalFromRow(row) : null;
}

/** Newest first. */
export function* listApprovals(
  tenant: string,
  filter: { status?: ApprovalRow['status']; runId?: RunId },
  page: PageRequest,
): Program<PageOf<ApprovalRow>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('approvals').selectAll().where('tenant_id', '=', tenant);
    if (filter.status !== undefined) select = select.where('status', '=', filter.status);
    if (filter.runId !== undefined) select = select.where('run_id', '=', filter.runId);
    if (position) select = select.where(beyond(['created_at', 'approval_id'], position, 'desc'));
    return select
      .orderBy('created_at', 'desc')
      .orderBy('approval_id', 'desc')
      .limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, approvalFromRow, (row) => [row.created_at, row.approval_id]);
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
export function* answerApproval(
  tenant: string,
  id: string,
  answer: { decision: ApprovalDecision; answer: ApprovalRow['answer']; decidedBy: string; at: number },
): Program<ApprovalAnswerResult> {
  const found = yield* getApproval(tenant, id);
  if (!found) return { type: 'not_found' };
  if (found.status !== 'pending') return { type: 'already', approval: found };
  let decided = false;
  yield* lockAndWakeRun(tenant, found.runId, function* () {
    const written = yield* change(decide, {
      tenant,
      id,
      decision: answer.decision,
      answer: answerToJson(answer.answer),
      decidedBy: storable(answer.decidedBy, 'decidedBy'),
      at: answer.at,
    });
    decided = written > 0;
  });
  const approval = (yield* getApproval(tenant, id)) ?? found;
  return { type: decided ? 'decided' : 'already', approval };
}
