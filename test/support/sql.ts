import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pg from 'pg';
import type { DatabaseLocation } from './stores.ts';

/** Rows of one statement on a connection of its own: what a test does to a database behind the back of its stores. */
export async function execute({ url, dataDir = '' }: DatabaseLocation, sql: string): Promise<unknown[]> {
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
