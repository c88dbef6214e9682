import { sql } from 'kysely';
import {
  type PageOf,
  type PageRequest,
  requireQuota,
  type TenantQuotas,
  type ToolSourceHead,
  type ToolSourceKind,
  type ToolSourceRow,
} from '#storage/contract';
import {
  cutPage,
  defineTable,
  fittingRows,
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
import { write } from './statements.ts';

export const toolSources = defineTable('tool_sources', {
  tenant_id: 'text',
  kind: 'text',
  name: 'text',
  version: 'text',
  content: 'text',
  created_at: 'int',
});
const { statement, query } = queriesOn(toolSources);

function sourceFromRow(row: Row<typeof toolSources>): ToolSourceRow {
  return {
    tenantId: row.tenant_id as ToolSourceRow['tenantId'],
    kind: row.kind as ToolSourceKind,
    name: row.name,
    version: row.version,
    content: parse(row.content),
    createdAt: row.created_at,
  };
}

export function* putToolSource(source: ToolSourceRow, before: string | null | undefined, quotas: TenantQuotas): Program<boolean> {
  const { tenantId, kind, version, createdAt } = source;
  const name = storable(source.name, 'name');
  yield* lockCounts(tenantId, ['toolSources']);
  const known = yield* run(oneSource, { tenant: tenantId, kind, name });
  if (before !== undefined && (known[0]?.version ?? null) !== before) return false;
  if (known.length === 0) requireQuota(quotas, 'toolSources', yield* countUpTo(tenantId, 'toolSources', quotas.toolSources));
  yield* write(sql`insert into tool_sources (tenant_id, kind, name, version, content, created_at)
    values (${tenantId}, ${kind}, ${name}, ${version}, ${json(source.content)}, ${createdAt})
    on conflict (tenant_id, kind, name) do update set version = excluded.version, content = excluded.content, created_at = excluded.created_at`);
  return true;
}

const oneSource = statement('tool_source', ({ db }, params: { tenant: string; kind: string; name: string }) =>
  db
    .selectFrom('tool_sources')
    .selectAll()
    .where('tenant_id', '=', params.tenant)
    .where('kind', '=', params.kind)
    .where('name', '=', params.name),
);

export function* getToolSource(tenant: string, kind: ToolSourceKind, name: string): Program<ToolSourceRow | null> {
  if (!isStorable(name)) return null;
  const [row] = yield* run(oneSource, { tenant, kind, name });
  return row ? sourceFromRow(row) : null;
}

export function* listToolSources(tenant: string, kind: ToolSourceKind, page: PageRequest): Program<PageOf<ToolSourceRow>> {
  const after = String(startOf(page, ['string'])?.[0] ?? '');
  const bytes = sql<number>`octet_length(content)`.as('bytes');
  const sizes = yield* query(({ db }) =>
    db
      .selectFrom('tool_sources')
      .select(bytes)
      .where('tenant_id', '=', tenant)
      .where('kind', '=', kind)
      .where('name', '>', after)
      .orderBy('name')
      .limit(page.limit),
  );
  const limit = fittingRows(sizes, page.limit);
  const rows = yield* query(({ db }) =>
    db
      .selectFrom('tool_sources')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('kind', '=', kind)
      .where('name', '>', after)
      .orderBy('name')
      .limit(limit + 1),
  );
  return cutPage(rows, limit, sourceFromRow, ({ name }) => [name]);
}

const heads = statement('tool_source_heads', ({ db }, params: { tenant: string }) =>
  db.selectFrom('tool_sources').select(['kind', 'name', 'version']).where('tenant_id', '=', params.tenant).orderBy('kind').orderBy('name'),
);

export function* toolSourceHeads(tenant: string): Program<readonly ToolSourceHead[]> {
  const rows = yield* run(heads, { tenant });
  return rows.map(({ kind, name, version }) => ({ kind: kind as ToolSourceKind, name, version })); // written from these
}

export function* deleteToolSource(tenant: string, kind: ToolSourceKind, name: string): Program<boolean> {
  if (!isStorable(name)) return false;
  return (yield* write(sql`delete from tool_sources where tenant_id = ${tenant} and kind = ${kind} and name = ${name}`)) > 0;
}
