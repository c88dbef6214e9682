import type { Migration } from './migration.ts';

/** What decides on every node lies in the database: the secrets of API keys, and the operator's policies and agents by version. */
export const sharedDefinitions: Migration = {
  version: 6,
  name: 'shared_definitions',
  statements: ({ text }) => [
    `create table definitions (
      kind ${text} not null, version bigint not null, fingerprint ${text} not null, files ${text}, origin ${text} not null,
      imported_at bigint not null, primary key (kind, version)
    )`,
    'create index definitions_fingerprint on definitions (kind, fingerprint)',
    `create table key_secrets (
      fingerprint ${text} not null primary key, origin ${text} not null, secret ${text}, created_at bigint not null
    )`,
    // Of nodes that start together on an empty database one makes the secret.
    "create unique index key_secrets_made on key_secrets (origin) where origin = 'made'",
    // Null for keys of an earlier version: whichever of the secrets they were hashed under.
    `alter table api_keys add column secret_id ${text}`,
    `create table nodes (
      node_id ${text} not null primary key, name ${text} not null, status ${text} not null, seen_at bigint not null
    )`,
  ],
};
