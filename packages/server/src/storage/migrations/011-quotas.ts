import type { Migration } from './migration.ts';

/**
 * What a tenant has is counted where it would take long to count it anew; the row is the lock under which the rest is counted. The paths of a tree
 * are counted by their names, and contents by what they take wherever they lie.
 */
export const quotas: Migration = {
  version: 11,
  name: 'quotas',
  statements: ({ text, clustered }) => [
    `create table tenant_counts (
      tenant_id ${text} not null, kind ${text} not null, amount bigint not null, primary key (tenant_id, kind)
    )${clustered}`,
    `create table contents (
      tenant_id ${text} not null, sha256 ${text} not null, bytes bigint not null, primary key (tenant_id, sha256)
    )${clustered}`,
    'alter table file_trees add column names integer not null default 0',
    `update file_trees set names = coalesce((select sum(case
        when length(f.path) - length(replace(f.path, '/', '')) + 1 >= (length(f.path) + 99) / 100
        then length(f.path) - length(replace(f.path, '/', '')) + 1 else (length(f.path) + 99) / 100 end)
      from files f where f.tenant_id = file_trees.tenant_id and f.tree_id = file_trees.tree_id and f.replaced is null), 0)`,
    'insert into contents (tenant_id, sha256, bytes) select tenant_id, sha256, max(bytes) from files group by tenant_id, sha256',
    ...Object.entries({
      sessions: 'count(*) from sessions',
      idempotencyKeys: 'count(*) from idempotency_keys',
      files: 'coalesce(sum(files), 0) from file_trees',
      contents: 'count(*) from contents',
      contentBytes: 'coalesce(sum(bytes), 0) from contents',
    }).map(([kind, rows]) => `insert into tenant_counts (tenant_id, kind, amount) select tenant_id, '${kind}', ${rows} group by tenant_id`),
    "create index runs_queued on runs (tenant_id) where status = 'queued' and parent_run_id is null",
  ],
};
