import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pg from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../packages/server/src/core/index.ts';
import { migrateDatabase } from '../../packages/server/src/storage/drivers/index.ts';
import { tables } from '../../packages/server/src/storage/testing/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { type DatabaseLocation, newTenant, openTestStore, type StoreSubject, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** Migrations of a driver, each test on an empty database. */
export function describeSchema(name: StoreSubject['name']): void {
  describe('schema', () => {
    it('is brought up once by any number of processes that start together, and keeps its data afterwards', async () => {
      const location = await emptyDatabase(name);
      const applied = await Promise.all(Array.from({ length: 4 }, () => migrateDatabase({ ...location, clock: systemClock })));
      expect(applied.filter((names) => names.length > 0)).toHaveLength(1);
      const session = sessionRow(newTenant());
      const first = await openTestStore(location);
      await first.commit({ tenantId: session.tenantId, sessions: [session] });
      await first.close();
      await first.close();
      const second = await openTestStore(location);
      expect(await second.getSession(session.tenantId, session.sessionId)).toEqual(session);
      await second.close();
    });

    it(`of a newer program is refused and left as it is ${verifies('storage.schema.newer')}`, async () => {
      const location = await emptyDatabase(name);
      await migrateDatabase({ ...location, clock: systemClock });
      await execute(location, "insert into schema_migrations values (999, 'from the future', 1)");
      await expect(openTestStore(location)).rejects.toMatchObject({ code: 'schema_too_new', details: { found: 999 } });
      await execute(location, 'delete from schema_migrations where version = 999');
      await (await openTestStore(location)).close();
    });

    it('has exactly the columns that the queries know', async () => {
      const location = await emptyDatabase(name);
      await migrateDatabase({ ...location, clock: systemClock });
      for (const [table, columns] of Object.entries(tables)) {
        expect(await columnsOf(location, table), table).toEqual(Object.keys(columns).sort());
      }
    });
  });
}

async function emptyDatabase(name: StoreSubject['name']): Promise<DatabaseLocation> {
  if (name === 'sqlite') {
    const dataDir = mkdtempSync(join(tmpdir(), 'nexus-schema-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    return { dataDir };
  }
  const postgres = await acquirePostgres();
  if ('reason' in postgres) throw new Error(postgres.reason);
  onTestFinished(() => postgres.close());
  return { url: postgres.url };
}

async function execute({ url, dataDir = '' }: DatabaseLocation, sql: string): Promise<unknown[]> {
  if (url === undefined) {
    const database = new DatabaseSync(join(dataDir, 'nexus.db'));
    try {
      return database.prepare(sql).all();
    } finally {
      database.close();
    }
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function columnsOf(location: DatabaseLocation, table: string): Promise<string[]> {
  const sql =
    location.url === undefined
      ? `select name from pragma_table_info('${table}')`
      : `select column_name as name from information_schema.columns where table_name = '${table}' and table_schema = 'public'`;
  const rows = await execute(location, sql);
  return rows.map((row) => String(typeof row === 'object' && row !== null && Reflect.get(row, 'name'))).sort();
}
