import type { DecisionRow, PageOf, PageRequest } from '#storage/contract';
import {
  beyond,
  byKey,
  cutPage,
  defineTable,
  insertMany,
  json,
  type Program,
  parse,
  queriesOn,
  type Row,
  startOf,
  storable,
} from '#storage/program';

export const policyDecisions = defineTable('policy_decisions', {
  tenant_id: 'text',
  decision_id: 'text',
  run_id: 'text?',
  call_id: 'text?',
  arguments_hash: 'text?',
  record: 'text',
  at: 'int',
});
type Stored = Row<typeof policyDecisions>;

function decisionFromRow(row: Stored): DecisionRow {
  return {
    ...parse<Omit<DecisionRow, 'runId' | 'callId' | 'argumentsHash' | 'at'>>(row.record),
    runId: row.run_id,
    callId: row.call_id,
    argumentsHash: row.arguments_hash,
    at: row.at,
  };
}

export function decisionToRow(tenantId: string, decision: DecisionRow): Stored {
  const { runId, callId, argumentsHash, at, ...record } = decision;
  return {
    tenant_id: tenantId,
    decision_id: storable(record.id, 'decision id'),
    run_id: runId,
    call_id: storable(callId, 'callId'),
    arguments_hash: argumentsHash,
    record: json(record),
    at,
  };
}

const { query } = queriesOn(policyDecisions);

/** Oldest first. */
export function* listDecisions(tenant: string, filter: { runId?: string }, page: PageRequest): Program<PageOf<DecisionRow>> {
  const position = startOf(page, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('policy_decisions').selectAll().where('tenant_id', '=', tenant);
    if (filter.runId !== undefined) select = select.where('run_id', '=', filter.runId);
    if (position) select = select.where(beyond(['at', 'decision_id'], position, 'asc'));
    return select
      .orderBy('at')
      .orderBy('decision_id')
      .limit(page.limit + 1);
  });
  return cutPage(rows, page.limit, decisionFromRow, (row) => [row.at, row.decision_id]);
}

export function insertDecisions(rows: Stored[]): Program<number> {
  return insertMany(policyDecisions, rows.sort(byKey('decision_id')));
}
