import type { Migration } from './migration.ts';

/** What MCP servers have granted to tenants, sealed by the processes that use it. */
export const mcpGrantRows: Migration = {
  version: 18,
  name: 'mcp-grants',
  statements: ({ text, clustered }) => [
    `create table mcp_grants (
      tenant_id ${text} not null, server ${text} not null, slot ${text} not null, version ${text} not null, sealed ${text} not null,
      held_until bigint, updated_at bigint not null, primary key (tenant_id, server, slot)
    )${clustered}`,
  ],
};
