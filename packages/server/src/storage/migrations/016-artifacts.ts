import type { Migration } from './migration.ts';

/** Results of tools that are too large for a prompt. What they hold lies where the contents of files do. */
export const artifactRows: Migration = {
  version: 16,
  name: 'artifacts',
  statements: ({ text, clustered }) => [
    `create table artifacts (
      tenant_id ${text} not null, artifact_id ${text} not null, session_id ${text} not null, run_id ${text}, call_id ${text} not null,
      tool ${text} not null, media_type ${text} not null, bytes bigint not null, characters bigint not null, lines bigint not null,
      whole integer not null, sha256 ${text} not null, created_at bigint not null, primary key (tenant_id, artifact_id)
    )${clustered}`,
    'create index artifacts_created on artifacts (tenant_id, created_at, artifact_id)',
    'create index artifacts_session on artifacts (tenant_id, session_id, created_at, artifact_id)',
    'create index artifacts_run on artifacts (tenant_id, run_id, created_at, artifact_id) where run_id is not null',
    // Whether a content is named by an artifact.
    'create index artifacts_content on artifacts (tenant_id, sha256)',
  ],
};
