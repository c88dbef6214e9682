import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pg from 'pg';
import type { DatabaseLocation } from './stores.ts';

/** Somebody else holds the right to migrate; the result, which may be called twice, gives it back. */
export async function holdMigration({ url, dataDir = '' }: DatabaseLocation): Promise<() => Promise<void>> {
  if (url === undefined) {
    const database = new DatabaseSync(join(dataDir, 'nexus.db'));
    database.exec('pragma journal_mode = wal; begin immediate');
    return async () => {
      if (database.isOpen) database.close();
    };
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('begin');
  await client.query('select pg_advisory_xact_lock(4815162342)'); // as the driver names it
  return () => client.end();
}
