import { NexusError } from '#core';
import { defineTable, insertMany, type Program } from '#storage/program';
import { migrations } from './list.ts';
import type { Migration, MigrationTypes } from './migration.ts';

const schemaVersion = Math.max(...migrations.map(({ version }) => version));

const schemaMigrations = defineTable('schema_migrations', { version: 'int', name: 'text', applied_at: 'int' });

/**
 * Brings the schema to this version inside the caller's transaction, which holds the migration lock. Throws
 * `schema_too_new` when the database was migrated by newer code.
 */
export function* migrateSchema(types: MigrationTypes, nowMs: number): Program<void> {
  yield {
    type: 'raw',
    sql: `create table if not exists schema_migrations (
      version integer not null primary key, name ${types.text} not null, applied_at bigint not null
    )`,
    params: [],
  };
  const pending = yield* pendingMigrations();
  for (const migration of pending) {
    for (const sql of migration.statements(types)) yield { type: 'raw', sql, params: [] };
    yield* insertMany(schemaMigrations, [{ version: migration.version, name: migration.name, applied_at: nowMs }]);
  }
}

/** Changes nothing; throws `config_invalid` unless the schema is that of this version. */
export function* checkSchema(): Program<void> {
  const [missing] = yield* pendingMigrations();
  if (missing !== undefined) {
    throw new NexusError(
      'config_invalid',
      `the schema of the database lacks version ${missing.version}; the next start, or nexus migrate, brings it to ${schemaVersion}`,
    );
  }
}

/**
 * What the database has not been brought through yet, in order, also where a later version has come before an earlier one. Throws
 * `schema_too_new` when it has been brought through what this code does not know.
 */
function* pendingMigrations(): Program<readonly Migration[]> {
  const result = yield { type: 'raw', sql: 'select version from schema_migrations', params: [] };
  const applied = (result.rows as readonly { version: number }[]).map(({ version }) => version); // the query's only column
  const found = Math.max(0, ...applied);
  if (found > schemaVersion) {
    throw new NexusError(
      'schema_too_new',
      `the database has schema version ${found}, this program knows ${schemaVersion}; start a newer version of the program`,
      { details: { found, known: schemaVersion } },
    );
  }
  return migrations.filter(({ version }) => !applied.includes(version));
}
