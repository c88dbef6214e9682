import { sql } from 'kysely';
import type { McpGrantRow, McpGrantSlot } from '#storage/contract';
import { defineTable, isStorable, type Program, queriesOn, type Row, run } from '#storage/program';
import { write } from './statements.ts';

export const mcpGrants = defineTable('mcp_grants', {
  tenant_id: 'text',
  server: 'text',
  slot: 'text',
  version: 'text',
  sealed: 'text',
  held_until: 'int?',
  updated_at: 'int',
});
const { statement } = queriesOn(mcpGrants);

function grantFromRow(row: Row<typeof mcpGrants>): McpGrantRow {
  return {
    tenantId: row.tenant_id as McpGrantRow['tenantId'],
    server: row.server,
    slot: row.slot as McpGrantSlot, // written from one
    version: row.version,
    sealed: row.sealed,
    heldUntil: row.held_until,
    updatedAt: row.updated_at,
  };
}

const oneGrant = statement('mcp_grant', ({ db }, params: { tenant: string; server: string; slot: string }) =>
  db
    .selectFrom('mcp_grants')
    .selectAll()
    .where('tenant_id', '=', params.tenant)
    .where('server', '=', params.server)
    .where('slot', '=', params.slot),
);

export function* getMcpGrant(tenant: string, server: string, slot: McpGrantSlot): Program<McpGrantRow | null> {
  if (!isStorable(server)) return null;
  const [row] = yield* run(oneGrant, { tenant, server, slot });
  return row ? grantFromRow(row) : null;
}

export function* swapMcpGrant(
  { tenantId, server, slot, version, sealed, heldUntil, updatedAt }: McpGrantRow,
  before: string | null,
): Program<boolean> {
  const changed =
    before === null
      ? yield* write(sql`insert into mcp_grants (tenant_id, server, slot, version, sealed, held_until, updated_at)
          values (${tenantId}, ${server}, ${slot}, ${version}, ${sealed}, ${heldUntil}, ${updatedAt})
          on conflict (tenant_id, server, slot) do nothing`)
      : yield* write(sql`update mcp_grants set version = ${version}, sealed = ${sealed}, held_until = ${heldUntil}, updated_at = ${updatedAt}
          where tenant_id = ${tenantId} and server = ${server} and slot = ${slot} and version = ${before}`);
  return changed > 0;
}

export function* deleteMcpGrant(tenant: string, server: string, slot: McpGrantSlot, version?: string): Program<boolean> {
  if (!isStorable(server)) return false;
  const only = version === undefined ? sql`` : sql` and version = ${version}`;
  return (yield* write(sql`delete from mcp_grants where tenant_id = ${tenant} and server = ${server} and slot = ${slot}${only}`)) > 0;
}
