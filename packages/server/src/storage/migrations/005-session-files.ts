import type { Migration } from './migration.ts';

/** The files of sessions, version by version, and blobs for where they are kept in the database. */
export const sessionFiles: Migration = {
  version: 5,
  name: 'session_files',
  statements: ({ text, clustered }) => [
    `create table file_trees (
      tenant_id ${text} not null, tree_id ${text} not null, session_id ${text} not null, version integer not null,
      files integer not null, bytes bigint not null, primary key (tenant_id, tree_id)
    )${clustered}`,
    'create index file_trees_session on file_trees (tenant_id, session_id)',
    // A file of the versions from `version` on, up to and without `replaced`.
    `create table files (
      tenant_id ${text} not null, tree_id ${text} not null, path ${text} not null, version integer not null,
      replaced integer, sha256 ${text} not null, bytes bigint not null, executable integer not null,
      primary key (tenant_id, tree_id, path, version)
    )${clustered}`,
    'create index files_current on files (tenant_id, tree_id, path) where replaced is null',
    'create index files_version on files (tenant_id, tree_id, version)',
    'create index files_replaced on files (tenant_id, tree_id, replaced) where replaced is not null',
    // Whether a blob is named by a file.
    'create index files_blob on files (tenant_id, sha256)',
    `create table file_versions (
      tenant_id ${text} not null, tree_id ${text} not null, version integer not null, run_id ${text}, call_id ${text},
      at bigint not null, primary key (tenant_id, tree_id, version)
    )${clustered}`,
    `create table blobs (
      tenant_id ${text} not null, sha256 ${text} not null, bytes bigint not null, created_at bigint not null,
      primary key (tenant_id, sha256)
    )${clustered}`,
    `create table blob_pieces (
      tenant_id ${text} not null, sha256 ${text} not null, piece integer not null, data ${text} not null,
      primary key (tenant_id, sha256, piece)
    )`,
    `create table blob_usage (tenant_id ${text} not null primary key, bytes bigint not null)`,
  ],
};
