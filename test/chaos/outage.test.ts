import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { auditBooks, auditRun } from './audit.ts';
import { type Cluster, openCluster, until } from './cluster.ts';
import { startAndFollow } from './follower.ts';
import { probeAnswer, probeRequest } from './task.ts';

let opened: Cluster | { readonly reason: string };
beforeAll(async () => {
  opened = await openCluster('postgres', { tokensPerSecond: 60 });
}, 60_000);
afterAll(async () => {
  if ('close' in opened) await opened.close();
});

/** Cuts every connection to the database and lets nobody in for a while. */
async function outage(url: string, durationMs: number): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  const elsewhere = new URL(url);
  elsewhere.pathname = '/postgres';
  const client = new pg.Client({ connectionString: elsewhere.href });
  await client.connect();
  try {
    await client.query(`alter database ${name} with allow_connections false`);
    await client.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
    await sleep(durationMs);
  } finally {
    await client.query(`alter database ${name} with allow_connections true`);
    await client.end();
  }
}

it('a process whose database goes away comes back to every one of its runs [verifies durability.log.gap-free]', async (context) => {
  if ('reason' in opened) return context.skip(opened.reason);
  const cluster = opened;
  const alone = await cluster.start();
  const following = Promise.all(
    Array.from({ length: 12 }, async (_, index) => {
      await sleep(index * 60);
      return startAndFollow({ urls: cluster.urls, request: probeRequest(`outage ${index}`), idempotencyKey: `outage-${index}` });
    }),
  );
  await until('some runs to live', () => cluster.effects().length > 4);
  await outage(cluster.databaseUrl ?? '', 2500);
  for (const seen of await following) expect(await auditRun(cluster, seen, { output: probeAnswer })).toEqual([]);
  await until('the books to balance', async () => (await auditBooks(cluster)).length === 0);
  expect(alone.running).toBe(true);
}, 60_000);
