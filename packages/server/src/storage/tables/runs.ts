import { isTerminal, type RunId, type RunStatus, type SessionId } from '@nexus-agent/protocol';
import { type Expression, type SqlBool, sql } from 'kysely';
import type { PageOf, PageRequest, RunPatch, RunRow } from '#storage/contract';
import {
  beyond,
  byKey,
  columnsOf,
  cutPage,
  defineTable,
  fittingRows,
  insertMany,
  isStorable,
  json,
  jsonNullable,
  type Program,
  parse,
  parseNullable,
  queriesOn,
  type Row,
  run,
  selectMany,
  startOf,
  storable,
  updateMany,
} from '#storage/program';

export const runs = defineTable('runs', {
  tenant_id: 'text',
  run_id: 'text',
  session_id: 'text',
  agent: 'text',
  agent_version: 'text',
  model: 'text?',
  parent_run_id: 'text?',
  status: 'text',
  waiting: 'text?',
  step: 'int',
  last_seq: 'int',
  totals: 'text',
  output: 'text?',
  error: 'text?',
  resumable: 'int',
  epoch: 'int',
  lease_owner: 'text?',
  due_at: 'int?',
  woken: 'int',
  cancel_requested: 'text?',
  budget: 'text?',
  trace_id: 'text?',
  user_name: 'text?',
  project: 'text?',
  /** How often its worker died since something of it came to last; see `suspects.ts`. */
  deaths: 'int',
  /** Whether it is tried, being driven alone or beside others, or its worker died of that: see `suspects.ts`. */
  alone: 'int',
  created_at: 'int',
  updated_at: 'int',
});
export type StoredRun = Row<typeof runs>;

export function runFromRow(row: StoredRun): RunRow {
  return {
    tenantId: row.tenant_id as RunRow['tenantId'],
    runId: row.run_id as RunRow['runId'],
    sessionId: row.session_id as RunRow['sessionId'],
    agent: row.agent,
    agentVersion: row.agent_version,
    model: row.model,
    parentRunId: row.parent_run_id as RunRow['parentRunId'],
    status: row.status as RunRow['status'],
    waiting: parseNullable(row.waiting),
    step: row.step,
    lastSeq: row.last_seq,
    totals: parse(row.totals),
    output: parseNullable(row.output),
    error: parseNullable(row.error),
    resumable: row.resumable === 1,
    epoch: row.epoch,
    leaseOwner: row.lease_owner,
    dueAt: row.due_at,
    cancelRequested: parseNullable(row.cancel_requested),
    budget: parseNullable(row.budget),
    traceId: row.trace_id,
    user: row.user_name,
    project: row.project,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export function runToRow(run: RunRow): StoredRun {
  return {
    tenant_id: run.tenantId,
    run_id: run.runId,
    session_id: run.sessionId,
    agent: run.agent,
    agent_version: run.agentVersion,
    model: storable(run.model, 'model'),
    parent_run_id: run.parentRunId,
    status: run.status,
    waiting: jsonNullable(run.waiting),
    step: run.step,
    last_seq: run.lastSeq,
    totals: json(run.totals),
    output: jsonNullable(run.output),
    error: jsonNullable(run.error),
    resumable: run.resumable ? 1 : 0,
    epoch: run.epoch,
    lease_owner: run.leaseOwner,
    due_at: run.dueAt,
    woken: 0,
    cancel_requested: jsonNullable(run.cancelRequested),
    budget: jsonNullable(run.budget),
    trace_id: run.traceId,
    user_name: storable(run.user, 'user'),
    project: storable(run.project, 'project'),
    deaths: 0,
    alone: 0,
    created_at: run.createdAt,
    updated_at: run.updatedAt,
  };
}

export function patchToRow(patch: RunPatch): Partial<StoredRun> {
  return {
    ...(patch.status === undefined ? {} : { status: patch.status }),
    ...(patch.waiting === undefined ? {} : { waiting: jsonNullable(patch.waiting) }),
    ...(patch.step === undefined ? {} : { step: patch.step }),
    ...(patch.totals === undefined ? {} : { totals: json(patch.totals) }),
    ...(patch.output === undefined ? {} : { output: jsonNullable(patch.output) }),
    ...(patch.error === undefined ? {} : { error: jsonNullable(patch.error) }),
    ...(patch.resumable === undefined ? {} : { resumable: patch.resumable ? 1 : 0 }),
    ...(patch.leaseOwner === undefined ? {} : { lease_owner: patch.leaseOwner }),
    ...(patch.dueAt === undefined ? {} : { due_at: patch.dueAt }),
  };
}

/** The columns of a run that a commit may change, as they stand while it is locked: by some of them runs are found. */
const keptColumns = [
  'waiting',
  'step',
  'last_seq',
  'totals',
  'output',
  'error',
  'resumable',
  'woken',
  'alone',
  'updated_at',
] as const satisfies readonly (keyof StoredRun)[];
const foundByColumns = ['status', 'lease_owner', 'due_at', 'deaths'] as const satisfies readonly (keyof StoredRun)[];
const mutableColumns = [...keptColumns, ...foundByColumns];

/** Equal for a run that is found in the same places of all indexes. */
export function placeInIndexes(row: Pick<StoredRun, (typeof foundByColumns)[number]>): string {
  return foundByColumns.map((name) => row[name]).join(' ');
}

const { statement, query } = queriesOn(runs);
/** What a query of this file is built with. */
type Builder = Parameters<Parameters<typeof query>[0]>[0];

const runById = statement('run_by_id', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('runs').selectAll().where('tenant_id', '=', params.tenant).where('run_id', '=', params.id),
);

export function* getRun(tenant: string, id: string): Program<RunRow | null> {
  if (!isStorable(id)) return null;
  const [row] = yield* run(runById, { tenant, id });
  return row ? runFromRow(row) : null;
}

/**
 * Of a session there are few runs that have not ended, which are sorted; what has ended is found in its order. The index of all runs of a
 * state is kept out: it may pass over those of every other session.
 */
function ofState<Q extends { where(condition: Expression<SqlBool>): Q }>(select: Q, status: RunStatus): Q {
  if (isTerminal(status))
    return select.where(sql<SqlBool>`status in ('completed', 'failed', 'cancelled')`).where(sql<SqlBool>`status = ${status}`);
  return select.where(sql<SqlBool>`status in ('queued', 'running', 'waiting')`).where(sql<SqlBool>`status || '' = ${status}`);
}

/** Newest first; fewer on a page where their answers are long. */
export function* listRuns(
  tenant: string,
  filter: { sessionId?: SessionId; status?: RunStatus; parentRunId?: RunId | null },
  page: PageRequest,
): Program<PageOf<RunRow>> {
  const position = startOf(page, ['number', 'string']);
  if (filter.sessionId !== undefined && !isStorable(filter.sessionId)) return { items: [], nextCursor: null };
  const found = ({ db }: Builder) => {
    let select = db.selectFrom('runs').where('tenant_id', '=', tenant);
    if (filter.sessionId !== undefined) select = select.where('session_id', '=', filter.sessionId);
    if (filter.status !== undefined)
      select = filter.sessionId === undefined ? select.where('status', '=', filter.status) : ofState(select, filter.status);
    if (filter.parentRunId === null) select = select.where('parent_run_id', 'is', null);
    else if (filter.parentRunId !== undefined) select = select.where('parent_run_id', '=', filter.parentRunId);
    if (position) select = select.where(beyond(['created_at', 'run_id'], position, 'desc'));
    return select.orderBy('created_at', 'desc').orderBy('run_id', 'desc');
  };
  const bytes = sql<number>`coalesce(octet_length(output), 0) + coalesce(octet_length(error), 0)`.as('bytes');
  const limit = fittingRows(yield* query((builder) => found(builder).select(bytes).limit(page.limit)), page.limit);
  const rows = yield* query((builder) =>
    found(builder)
      .selectAll()
      .limit(limit + 1),
  );
  return cutPage(rows, limit, runFromRow, (row) => [row.created_at, row.run_id]);
}

const newestRun = statement('newest_run', ({ db }, params: { tenant: string; session: string }) =>
  db
    .selectFrom('runs')
    .select(['run_id', 'created_at'])
    .where('tenant_id', '=', params.tenant)
    .where('session_id', '=', params.session)
    .where('parent_run_id', 'is', null)
    .orderBy('created_at', 'desc')
    .orderBy('run_id', 'desc')
    .limit(1),
);

/** The newest run of a session that is nobody's sub-agent. */
export function* newestRunOf(tenant: string, session: string): Program<Pick<StoredRun, 'run_id' | 'created_at'> | undefined> {
  const [row] = yield* run(newestRun, { tenant, session });
  return row;
}

const openRuns = statement('open_runs', ({ db }, params: { tenant: string; session: string }) =>
  db
    .selectFrom('runs')
    .select(['run_id', 'parent_run_id', 'status', 'waiting', 'due_at', 'created_at'])
    .where('tenant_id', '=', params.tenant)
    .where('session_id', '=', params.session)
    .where('status', 'in', [sql.lit('queued'), sql.lit('running'), sql.lit('waiting')]),
);

/** What of a run says whether it is at work. */
export type OpenRun = Pick<StoredRun, 'run_id' | 'parent_run_id' | 'status' | 'waiting' | 'due_at' | 'created_at'>;

/** The runs of a session that have not ended, those of sub-agents too. */
export function openRunsOf(tenant: string, session: string): Program<readonly OpenRun[]> {
  return run(openRuns, { tenant, session });
}

export function* listOpenRuns(tenant: string, session: string): Program<readonly RunId[]> {
  return (yield* openRunsOf(tenant, session)).map(({ run_id }) => run_id as RunId); // written from a branded id
}

const allColumns = columnsOf(runs);

/** The number of the newest event of each of these that there is. */
export function* lastSeqs(tenantId: string, ids: readonly string[]): Program<ReadonlyMap<string, number>> {
  const rows = yield* selectMany(runs, ['run_id', 'last_seq'], { tenantId, key: 'run_id', keys: ids, orderBy: ['run_id'], lock: false });
  return new Map(rows.map((row) => [row.run_id, row.last_seq]));
}

export function lockRuns(tenantId: string, ids: readonly string[]): Program<readonly StoredRun[]> {
  return selectMany(runs, allColumns, { tenantId, key: 'run_id', keys: ids, orderBy: ['run_id'], lock: true });
}

export function insertRuns(rows: StoredRun[]): Program<number> {
  return insertMany(runs, rows.sort(byKey('run_id')));
}

/** Writes what a commit may change of runs that it has locked. */
export function updateRuns(rows: readonly StoredRun[]): Program<number> {
  return updateMany(runs, ['tenant_id', 'run_id'], mutableColumns, rows);
}

/** The same of runs whose {@link placeInIndexes} is as it was: SQLite writes every index that has a column which is set, changed or not. */
export function updateRunsInPlace(rows: readonly StoredRun[]): Program<number> {
  return updateMany(runs, ['tenant_id', 'run_id'], keptColumns, rows);
}
