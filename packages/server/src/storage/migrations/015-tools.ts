import type { Migration } from './migration.ts';

/** Tools that people add: where they come from, who serves them, and the calls that wait for a worker or are at one. */
export const tools: Migration = {
  version: 15,
  name: 'tools',
  statements: ({ text, clustered }) => [
    `create table tool_sources (
      tenant_id ${text} not null, kind ${text} not null, name ${text} not null, version ${text} not null, content ${text} not null,
      created_at bigint not null, primary key (tenant_id, kind, name)
    )${clustered}`,
    `create table tool_workers (
      tenant_id ${text} not null, worker_id ${text} not null, pool ${text} not null, node_id ${text} not null, about ${text} not null,
      connected_at bigint not null, seen_at bigint not null, primary key (tenant_id, worker_id)
    )${clustered}`,
    'create index tool_workers_node on tool_workers (node_id)',
    'create index tool_workers_seen on tool_workers (seen_at)',
    `create table tool_calls (
      tenant_id ${text} not null, call_key ${text} not null, pool ${text} not null, status ${text} not null, request ${text} not null,
      answer ${text}, holder ${text}, delivery integer not null, lease_until bigint, cancelled integer not null,
      created_at bigint not null, expires_at bigint not null, primary key (tenant_id, call_key)
    )`,
    "create index tool_calls_queued on tool_calls (tenant_id, pool, created_at) where status = 'queued'",
    "create index tool_calls_held on tool_calls (tenant_id, holder) where status = 'held'",
    'create index tool_calls_expiry on tool_calls (expires_at)',
  ],
};
