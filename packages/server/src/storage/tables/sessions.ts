import { sql } from 'kysely';
import type { PageOf, PageRequest, SessionRow } from '#storage/contract';
import {
  beyond,
  byKey,
  change,
  cutPage,
  defineTable,
  fittingRows,
  insertMany,
  isStorable,
  jsonNullable,
  type Program,
  parseNullable,
  queriesOn,
  type Row,
  run,
  selectMany,
  startOf,
  storable,
} from '#storage/program';

export const sessions = defineTable('sessions', {
  tenant_id: 'text',
  session_id: 'text',
  status: 'text',
  agent: 'text',
  agent_version: 'text',
  policy: 'text?',
  user_name: 'text?',
  project: 'text?',
  metadata: 'text?',
  created_at: 'int',
});
type Stored = Row<typeof sessions>;

function sessionFromRow(row: Stored): SessionRow {
  return {
    tenantId: row.tenant_id as SessionRow['tenantId'],
    sessionId: row.session_id as SessionRow['sessionId'],
    status: row.status as SessionRow['status'],
    agent: row.agent,
    agentVersion: row.agent_version,
    policy: parseNullable(row.policy),
    user: row.user_name,
    project: row.project,
    metadata: parseNullable(row.metadata),
    createdAt: row.created_at,
  };
}

export function sessionToRow(session: SessionRow): Stored {
  return {
    tenant_id: session.tenantId,
    session_id: session.sessionId,
    status: session.status,
    agent: session.agent,
    agent_version: session.agentVersion,
    policy: jsonNullable(session.policy),
    user_name: storable(session.user, 'user'),
    project: storable(session.project, 'project'),
    metadata: jsonNullable(session.metadata),
    created_at: session.createdAt,
  };
}

const { statement, query } = queriesOn(sessions);
/** What a query of this file is built with. */
type Builder = Parameters<Parameters<typeof query>[0]>[0];

const sessionById = statement('session_by_id', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('sessions').selectAll().where('tenant_id', '=', params.tenant).where('session_id', '=', params.id),
);

export function* getSession(tenant: string, id: string): Program<SessionRow | null> {
  if (!isStorable(id)) return null;
  const [row] = yield* run(sessionById, { tenant, id });
  return row ? sessionFromRow(row) : null;
}

/** Newest first; fewer on a page where their policies and notes are long. */
export function* listSessions(tenant: string, page: PageRequest): Program<PageOf<SessionRow>> {
  const position = startOf(page, ['number', 'string']);
  const found = ({ db }: Builder) => {
    let select = db.selectFrom('sessions').where('tenant_id', '=', tenant);
    if (position) select = select.where(beyond(['created_at', 'session_id'], position, 'desc'));
    return select.orderBy('created_at', 'desc').orderBy('session_id', 'desc');
  };
  const bytes = sql<number>`coalesce(octet_length(policy), 0) + coalesce(octet_length(metadata), 0)`.as('bytes');
  const limit = fittingRows(yield* query((builder) => found(builder).select(bytes).limit(page.limit)), page.limit);
  const rows = yield* query((builder) =>
    found(builder)
      .selectAll()
      .limit(limit + 1),
  );
  return cutPage(rows, limit, sessionFromRow, (row) => [row.created_at, row.session_id]);
}

const closeSessionById = statement('close_session', ({ db }, params: { tenant: string; id: string }) =>
  db
    .updateTable('sessions')
    .set({ status: 'closed' })
    .where('tenant_id', '=', params.tenant)
    .where('session_id', '=', params.id)
    .where('status', '=', 'active'),
);

/** Only its row: see `closeSession`. */
export function* endSession(tenant: string, id: string): Program<boolean> {
  return (yield* change(closeSessionById, { tenant, id })) > 0;
}

/** Whether the sessions are active; none is closed before the transaction ends. */
export function lockSessions(tenantId: string, ids: readonly string[]): Program<readonly Pick<Stored, 'session_id' | 'status'>[]> {
  return selectMany(sessions, ['session_id', 'status'], { tenantId, key: 'session_id', keys: ids, orderBy: ['session_id'], lock: true });
}

/** Those of the sessions that are there. */
export function* existingSessions(tenantId: string, ids: readonly string[]): Program<readonly string[]> {
  const rows = yield* selectMany(sessions, ['session_id'], {
    tenantId,
    key: 'session_id',
    keys: ids,
    orderBy: ['session_id'],
    lock: false,
  });
  return rows.map((row) => row.session_id);
}

/** A session id is random: the same one again is a repeated commit whose first answer was lost. */
export function insertSessions(rows: Stored[]): Program<number> {
  return insertMany(sessions, rows.sort(byKey('session_id')), 'ignore');
}
