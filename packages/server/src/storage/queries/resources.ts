import { beyond, decodeCursor, pageOf } from '../paging.ts';
import { change, insertMany, type Program, query, run, statement } from '../program.ts';
import { agentFromRow, agentToRow, decisionFromRow, keyFromRow, keyToRow, sessionFromRow } from '../rows.ts';
import type { AgentVersionRow, DecisionRow, KeyRow, PageOf, PageRequest, SessionRow } from '../types.ts';

const sessionById = statement('session_by_id', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('sessions').selectAll().where('tenant_id', '=', params.tenant).where('session_id', '=', params.id),
);

export function* getSession(tenant: string, id: string): Program<SessionRow | null> {
  const [row] = yield* run(sessionById, { tenant, id });
  return row ? sessionFromRow(row) : null;
}

/** Newest first. */
export function* listSessions(tenant: string, page: PageRequest): Program<PageOf<SessionRow>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('sessions').selectAll().where('tenant_id', '=', tenant);
    if (position) select = select.where(beyond(['created_at', 'session_id'], position, 'desc'));
    return select
      .orderBy('created_at', 'desc')
      .orderBy('session_id', 'desc')
      .limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, sessionFromRow, (row) => [row.created_at, row.session_id]);
}

const closeSessionById = statement('close_session', ({ db }, params: { tenant: string; id: string }) =>
  db
    .updateTable('sessions')
    .set({ status: 'closed' })
    .where('tenant_id', '=', params.tenant)
    .where('session_id', '=', params.id)
    .where('status', '=', 'active'),
);

export function* closeSession(tenant: string, id: string): Program<boolean> {
  return (yield* change(closeSessionById, { tenant, id })) > 0;
}

const setCurrentVersion = statement('set_current_version', ({ db }, params: { tenant: string; name: string; version: string }) =>
  db
    .insertInto('agents')
    .values({ tenant_id: params.tenant, name: params.name, current_version: params.version })
    .onConflict((conflict) => conflict.columns(['tenant_id', 'name']).doUpdateSet({ current_version: params.version })),
);

export function* putAgent(agent: AgentVersionRow): Program<void> {
  yield* insertMany('agent_versions', [agentToRow(agent)], 'ignore');
  yield* change(setCurrentVersion, { tenant: agent.tenantId, name: agent.name, version: agent.version });
}

const agentVersion = statement('agent_version', ({ db }, params: { tenant: string; name: string; version: string }) =>
  db
    .selectFrom('agent_versions')
    .selectAll()
    .where('tenant_id', '=', params.tenant)
    .where('name', '=', params.name)
    .where('version', '=', params.version),
);

const currentAgent = statement('current_agent', ({ db }, params: { tenant: string; name: string }) =>
  db
    .selectFrom('agents as a')
    .innerJoin('agent_versions as v', (join) =>
      join.onRef('v.tenant_id', '=', 'a.tenant_id').onRef('v.name', '=', 'a.name').onRef('v.version', '=', 'a.current_version'),
    )
    .selectAll('v')
    .where('a.tenant_id', '=', params.tenant)
    .where('a.name', '=', params.name),
);

export function* getAgent(tenant: string, name: string, version?: string): Program<AgentVersionRow | null> {
  const rows = version === undefined ? yield* run(currentAgent, { tenant, name }) : yield* run(agentVersion, { tenant, name, version });
  const [row] = rows;
  return row ? agentFromRow(row) : null;
}

/** Current versions by name. */
export function* listAgents(tenant: string, page: PageRequest): Program<PageOf<AgentVersionRow>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['string']);
  const rows = yield* query(({ db }) => {
    let select = db
      .selectFrom('agents as a')
      .innerJoin('agent_versions as v', (join) =>
        join.onRef('v.tenant_id', '=', 'a.tenant_id').onRef('v.name', '=', 'a.name').onRef('v.version', '=', 'a.current_version'),
      )
      .selectAll('v')
      .where('a.tenant_id', '=', tenant);
    if (position) select = select.where('a.name', '>', String(position[0]));
    return select.orderBy('a.name').limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, agentFromRow, (row) => [row.name]);
}

/** Oldest first. */
export function* listDecisions(tenant: string, filter: { runId?: string }, page: PageRequest): Program<PageOf<DecisionRow>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('policy_decisions').selectAll().where('tenant_id', '=', tenant);
    if (filter.runId !== undefined) select = select.where('run_id', '=', filter.runId);
    if (position) select = select.where(beyond(['at', 'decision_id'], position, 'asc'));
    return select
      .orderBy('at')
      .orderBy('decision_id')
      .limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, decisionFromRow, (row) => [row.at, row.decision_id]);
}

export function* putKey(key: KeyRow): Program<void> {
  yield* insertMany('api_keys', [keyToRow(key)]);
}

const keyById = statement('key_by_id', ({ db }, params: { id: string }) =>
  db.selectFrom('api_keys').selectAll().where('key_id', '=', params.id),
);

export function* getKey(id: string): Program<KeyRow | null> {
  const [row] = yield* run(keyById, { id });
  return row ? keyFromRow(row) : null;
}

/** Oldest first. */
export function* listKeys(tenant: string, page: PageRequest): Program<PageOf<KeyRow>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('api_keys').selectAll().where('tenant_id', '=', tenant);
    if (position) select = select.where(beyond(['created_at', 'key_id'], position, 'asc'));
    return select
      .orderBy('created_at')
      .orderBy('key_id')
      .limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, keyFromRow, (row) => [row.created_at, row.key_id]);
}

const revoke = statement('revoke_key', ({ db }, params: { tenant: string; id: string; at: number }) =>
  db
    .updateTable('api_keys')
    .set({ revoked_at: params.at })
    .where('tenant_id', '=', params.tenant)
    .where('key_id', '=', params.id)
    .where('revoked_at', 'is', null),
);

export function* revokeKey(tenant: string, id: string, at: number): Program<boolean> {
  return (yield* change(revoke, { tenant, id, at })) > 0;
}
