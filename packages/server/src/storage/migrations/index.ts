import { NexusError } from '#core';
import { defineTable, insertMany, type Program } from '#storage/program';
import { initial } from './001-initial.ts';
import { expiryCharges } from './002-expiry-charges.ts';
import { leaseLengths } from './003-lease-lengths.ts';
import { sessionLog } from './004-session-log.ts';
import { sharedDefinitions } from './006-shared-definitions.ts';
import { turnsAndRoles } from './007-turns-and-roles.ts';
import { limitsInFlight } from './009-limits-in-flight.ts';
import type { Migration, MigrationTypes } from './migration.ts';

const migrations: readonly Migration[] = [
  initial,
  expiryCharges,
  leaseLengths,
  sessionLog,
  sharedDefinitions,
  turnsAndRoles,
  limitsInFlight,
];
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
  const current = yield* currentVersion();
  const pending = migrations.filter((migration) => migration.version > current);
  for (const migration of pending) {
    for (const sql of migration.statements(types)) yield { type: 'raw', sql, params: [] };
    yield* insertMany(schemaMigrations, [{ version: migration.version, name: migration.name, applied_at: nowMs }]);
  }
}

/** Changes nothing; throws `config_invalid` unless the schema is that of this version. */
export function* checkSchema(): Program<void> {
  const found = yield* currentVersion();
  if (found < schemaVersion) {
    throw new NexusError(
      'config_invalid',
      `the database has schema version ${found}; the next start, or nexus migrate, brings it to ${schemaVersion}`,
    );
  }
}

/** Version of the database's schema, 0 when there is none. Throws `schema_too_new` when this code does not know it. */
function* currentVersion(): Program<number> {
  const result = yield { type: 'raw', sql: 'select max(version) as version from schema_migrations', params: [] };
  const [row] = result.rows as readonly { version: number | null }[]; // the query's only column
  const version = row?.version ?? 0;
  if (version > schemaVersion) {
    throw new NexusError(
      'schema_too_new',
      `the database has schema version ${version}, this program knows ${schemaVersion}; start a newer version of the program`,
      { details: { found: version, known: schemaVersion } },
    );
  }
  return version;
}
