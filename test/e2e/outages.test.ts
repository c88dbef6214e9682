import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, type TestContext } from 'vitest';
import { acquirePostgres } from '../support/postgres.ts';
import { openPostgresWay, type PostgresWay } from '../support/postgres-way.ts';
import { fillFolder, type NodeProcess, startNode } from './support/node-process.ts';

interface Node {
  readonly node: NodeProcess;
  readonly folder: string;
  readonly way: PostgresWay | null;
}

/** A node that notices soon, over SQLite or over a way to Postgres that misbehaves. */
async function onNode(
  context: TestContext,
  database: 'sqlite' | 'postgres',
  use: (node: Node) => Promise<void>,
  timeoutMs = 1_000,
): Promise<void> {
  const postgres = database === 'postgres' ? await acquirePostgres() : null;
  if (postgres !== null && 'reason' in postgres) return context.skip(postgres.reason);
  const way = postgres === null ? null : await openPostgresWay(postgres.url);
  const folder = mkdtempSync(join(tmpdir(), 'nexus-outage-'));
  const settings = [`storage: { timeoutMs: ${timeoutMs} }`, 'runs: { heartbeatMs: 300, leaseMs: 2000 }', 'drainMs: 1500'];
  fillFolder(folder, { 'nexus.config.yaml': settings.join('\n') });
  const node = await startNode(folder, {
    NEXUS_CONFIG: join(folder, 'nexus.config.yaml'),
    ...(way === null ? {} : { NEXUS_DATABASE_URL: way.url }),
    NEXUS_DATA_DIR: folder,
  });
  try {
    await use({ node, folder, way });
  } finally {
    await node.kill();
    way?.close();
    await postgres?.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

it('a node says once that its database is away and once that it is back, whatever fails meanwhile', {
  timeout: 60_000,
}, async (context) => {
  await onNode(context, 'postgres', async ({ node, way }) => {
    const waiting = await node.call('POST', '/v1/runs', { input: '[[sim tools=ask_human(question="?")]]' });
    expect(waiting.status).toBe(202);
    await expect.poll(() => node.log().map(({ message }) => message)).toContain('what a first run needs is ready');
    const before = node.log().length;
    const said = () => node.log().slice(before);
    way?.silence();
    const refused = await Promise.all([1, 2, 3].map(() => node.call('POST', '/v1/runs', { input: 'x' })));
    expect(refused.map(({ status, body }) => `${status} ${body.code}`)).toEqual(Array(3).fill('503 storage_unavailable'));
    await sleep(3_000);
    way?.speak();
    await expect.poll(() => said().some(({ message }) => message === 'the database is back'), { timeout: 20_000 }).toBe(true);
    const about = said().filter(({ message }) => !message.startsWith('definitions '));
    expect(about.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      'warn: the database cannot be used; until it is back, runs wait and requests are refused',
      'info: the database is back',
    ]);
    expect(about[1]?.outMs).toBeGreaterThan(3_000);
    expect(JSON.stringify(about)).not.toMatch(/\bat .*:\d+:\d+/); // no stack
  });
});

/** Less than one wait for the database: there are many parts that want to tell it that they end. */
const inTimeMs = 7_000;

for (const busy of [false, true]) {
  it(`a node ends in time, with exit 0, while its database says nothing: ${busy ? 'with runs' : 'idle'}`, {
    timeout: 60_000,
  }, async (context) => {
    await onNode(
      context,
      'postgres',
      async ({ node, way }) => {
        const inputs = busy ? Array.from({ length: 5 }, () => 'tell me a long story '.repeat(200)) : [];
        await Promise.all(inputs.map((input) => node.call('POST', '/v1/runs', { input })));
        way?.silence();
        await sleep(200);
        const startedMs = performance.now();
        expect(await node.stop()).toBe(0);
        expect(performance.now() - startedMs).toBeLessThan(inTimeMs);
        expect(node.log().map(({ message }) => message)).toContain(
          'the database could not be told that this process ends: others take its runs over once its lease has ended',
        );
      },
      8_000,
    );
  });
}

it('a node whose database answers what is read and takes no changes is not ready', { timeout: 60_000 }, async (context) => {
  await onNode(context, 'sqlite', async ({ node, folder }) => {
    const ready = async () => (await node.call('GET', '/readyz')).status;
    expect(await ready()).toBe(200);
    const other = new DatabaseSync(join(folder, 'nexus.db'));
    other.exec('begin immediate');
    await expect.poll(ready, { timeout: 10_000 }).toBe(503);
    expect((await node.call('GET', '/readyz')).body.detail).toBe('not ready: the database takes no changes');
    expect((await node.call('GET', '/v1/sessions')).status).toBe(200);
    other.exec('rollback');
    await expect.poll(ready, { timeout: 10_000 }).toBe(200);
    other.close();
  });
});
