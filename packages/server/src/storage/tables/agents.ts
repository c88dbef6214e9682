import { sql } from 'kysely';
import { type AgentVersionRow, type PageOf, type PageRequest, requireQuota, type TenantQuotas } from '#storage/contract';
import {
  change,
  cutPage,
  defineTable,
  fittingRows,
  insertMany,
  isStorable,
  json,
  type Program,
  parse,
  queriesOn,
  type Row,
  run,
  startOf,
  storable,
} from '#storage/program';
import { countUpTo, lockCounts } from './quotas.ts';
import { runs } from './runs.ts';
import { sessions } from './sessions.ts';

export const agents = defineTable('agents', { tenant_id: 'text', name: 'text', current_version: 'text' });
export const agentVersions = defineTable('agent_versions', {
  tenant_id: 'text',
  name: 'text',
  version: 'text',
  source: 'text',
  definition: 'text',
  created_at: 'int',
});
type Stored = Row<typeof agentVersions>;

function agentFromRow(row: Stored): AgentVersionRow {
  return {
    tenantId: row.tenant_id as AgentVersionRow['tenantId'],
    name: row.name,
    version: row.version,
    source: row.source as AgentVersionRow['source'],
    definition: parse(row.definition),
    createdAt: row.created_at,
  };
}

function agentToRow(agent: AgentVersionRow): Stored {
  return {
    tenant_id: agent.tenantId,
    name: storable(agent.name, 'name'),
    version: storable(agent.version, 'version'),
    source: agent.source,
    definition: json(agent.definition),
    created_at: agent.createdAt,
  };
}

const { statement, query } = queriesOn(agents, agentVersions, runs, sessions);
/** What a query of this file is built with. */
type Builder = Parameters<Parameters<typeof query>[0]>[0];

const setCurrentVersion = statement('set_current_version', ({ db }, params: { tenant: string; name: string; version: string }) =>
  db
    .insertInto('agents')
    .values({ tenant_id: params.tenant, name: params.name, current_version: params.version })
    .onConflict((conflict) => conflict.columns(['tenant_id', 'name']).doUpdateSet({ current_version: params.version })),
);

/** Never in the place of one that the tenant has put itself. */
const setSharedVersion = statement('set_shared_version', ({ db }, params: { tenant: string; name: string; version: string }) =>
  db
    .insertInto('agents')
    .values({ tenant_id: params.tenant, name: params.name, current_version: params.version })
    .onConflict((conflict) =>
      conflict
        .columns(['tenant_id', 'name'])
        .doUpdateSet({ current_version: params.version })
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('agent_versions as v')
                .select('v.version')
                .whereRef('v.tenant_id', '=', 'agents.tenant_id')
                .whereRef('v.name', '=', 'agents.name')
                .whereRef('v.version', '=', 'agents.current_version')
                .where('v.source', '=', 'api'),
            ),
          ),
        ),
    ),
);

const ownVersion = statement('own_version', ({ db }, params: { tenant: string; name: string; version: string }) =>
  db
    .updateTable('agent_versions')
    .set({ source: 'api' })
    .where('tenant_id', '=', params.tenant)
    .where('name', '=', params.name)
    .where('version', '=', params.version)
    .where('source', '<>', 'api'),
);

export function* putAgent(agent: AgentVersionRow, quotas: TenantQuotas): Program<void> {
  const key = { tenant: agent.tenantId, name: agent.name, version: agent.version };
  // Those of files are the operator's, and as many as they are.
  if (agent.source === 'api') yield* requireRoom(key, quotas);
  yield* insertMany(agentVersions, [agentToRow(agent)], 'ignore');
  if (agent.source !== 'api') return void (yield* change(setSharedVersion, key));
  // The same content may have been known from a file.
  yield* change(ownVersion, key);
  yield* change(setCurrentVersion, key);
}

function* requireRoom({ tenant, name, version }: { tenant: string; name: string; version: string }, quotas: TenantQuotas): Program<void> {
  yield* lockCounts(tenant, ['agents']);
  const known = yield* query(({ db }) =>
    db
      .selectFrom('agent_versions')
      .select(['version'])
      .where('tenant_id', '=', tenant)
      .where('name', '=', name)
      .limit(Math.min(quotas.agentVersions, Number.MAX_SAFE_INTEGER - 1) + 1),
  );
  const [current] = yield* query(({ db }) =>
    db.selectFrom('agents').select('name').where('tenant_id', '=', tenant).where('name', '=', name),
  );
  if (current === undefined) requireQuota(quotas, 'agents', yield* countUpTo(tenant, 'agents', quotas.agents));
  if (!known.some((row) => row.version === version)) requireQuota(quotas, 'agentVersions', known.length);
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
  if (!isStorable(name) || !isStorable(version ?? '')) return null;
  const rows = version === undefined ? yield* run(currentAgent, { tenant, name }) : yield* run(agentVersion, { tenant, name, version });
  const [row] = rows;
  return row ? agentFromRow(row) : null;
}

/** Current versions by name: all, or what the tenant put itself with those that all tenants have; fewer on a page where they are long. */
export function* listAgents(tenant: string, page: PageRequest, shared?: readonly AgentVersionRow[]): Program<PageOf<AgentVersionRow>> {
  const position = startOf(page, ['string']);
  const after = position === undefined ? '' : String(position[0]);
  const found = ({ db }: Builder) => {
    let select = db
      .selectFrom('agents as a')
      .innerJoin('agent_versions as v', (join) =>
        join.onRef('v.tenant_id', '=', 'a.tenant_id').onRef('v.name', '=', 'a.name').onRef('v.version', '=', 'a.current_version'),
      )
      .where('a.tenant_id', '=', tenant);
    if (position) select = select.where('a.name', '>', after);
    if (shared) select = select.where('v.source', '=', 'api');
    return select.orderBy('a.name');
  };
  const bytes = sql<number>`octet_length(v.definition)`.as('bytes');
  const limit = fittingRows(yield* query((builder) => found(builder).select(bytes).limit(page.limit)), page.limit);
  const rows = yield* query((builder) =>
    found(builder)
      .selectAll('v')
      .limit(limit + 1),
  );
  const agents = new Map(shared?.flatMap((agent) => (agent.name > after ? [[agent.name, agent] as const] : [])));
  for (const agent of rows.map(agentFromRow)) agents.set(agent.name, agent);
  const sorted = [...agents.values()].sort((one, other) => (one.name < other.name ? -1 : 1)).slice(0, limit + 1);
  return cutPage(
    sorted,
    limit,
    (agent) => agent,
    ({ name }) => [name],
  );
}

/** Without reading what they are: their definitions together may be very large. */
export function* listAgentNames(tenant: string, limit: number): Program<readonly string[]> {
  const rows = yield* query(({ db }) =>
    db
      .selectFrom('agents as a')
      .innerJoin('agent_versions as v', (join) =>
        join.onRef('v.tenant_id', '=', 'a.tenant_id').onRef('v.name', '=', 'a.name').onRef('v.version', '=', 'a.current_version'),
      )
      .select('a.name')
      .where('a.tenant_id', '=', tenant)
      .where('v.source', '=', 'api')
      .orderBy('a.name')
      .limit(limit),
  );
  return rows.map(({ name }) => name);
}

export function* deleteAgent(tenant: string, name: string): Program<'deleted' | 'in_use' | 'not_found'> {
  const current = yield* getAgent(tenant, name);
  if (current === null || current.source !== 'api') return 'not_found';
  const [user] = yield* query(({ db }) =>
    db
      .selectFrom('runs')
      .select('run_id')
      .where('tenant_id', '=', tenant)
      .where('agent', '=', name)
      .where('status', 'in', [sql.lit('queued'), sql.lit('running'), sql.lit('waiting')])
      .limit(1),
  );
  if (user !== undefined) return 'in_use';
  yield* query(({ db }) => db.deleteFrom('agents').where('tenant_id', '=', tenant).where('name', '=', name).returning('name'));
  yield* query(({ db }) =>
    db
      .deleteFrom('agent_versions')
      .where('tenant_id', '=', tenant)
      .where('name', '=', name)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('runs')
              .select(sql.lit(1).as('one'))
              .whereRef('runs.tenant_id', '=', 'agent_versions.tenant_id')
              .whereRef('runs.agent', '=', 'agent_versions.name')
              .whereRef('runs.agent_version', '=', 'agent_versions.version'),
          ),
        ),
      )
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('sessions')
              .select(sql.lit(1).as('one'))
              .whereRef('sessions.tenant_id', '=', 'agent_versions.tenant_id')
              .whereRef('sessions.agent', '=', 'agent_versions.name')
              .whereRef('sessions.agent_version', '=', 'agent_versions.version'),
          ),
        ),
      )
      .returning('version'),
  );
  return 'deleted';
}
