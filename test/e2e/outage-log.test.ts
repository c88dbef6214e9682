import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { acquirePostgres } from '../support/postgres.ts';
import { openPostgresWay } from '../support/postgres-way.ts';
import { fillFolder, startNode } from './support/node-process.ts';

it('a node says once that its database is away and once that it is back, whatever fails meanwhile', {
  timeout: 60_000,
}, async (context) => {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return context.skip(postgres.reason);
  const way = await openPostgresWay(postgres.url);
  const folder = mkdtempSync(join(tmpdir(), 'nexus-outage-'));
  fillFolder(folder, { 'nexus.config.yaml': 'storage:\n  timeoutMs: 1000\nruns:\n  heartbeatMs: 300\n' });
  const node = await startNode(folder, {
    NEXUS_CONFIG: join(folder, 'nexus.config.yaml'),
    NEXUS_DATABASE_URL: way.url,
    NEXUS_DATA_DIR: folder,
  });
  try {
    const waiting = await node.call('POST', '/v1/runs', { input: '[[sim tools=ask_human(question="?")]]' });
    expect(waiting.status).toBe(202);
    const before = node.log().length;
    const said = () => node.log().slice(before);
    way.silence();
    const refused = await Promise.all([1, 2, 3].map(() => node.call('POST', '/v1/runs', { input: 'x' })));
    expect(refused.map(({ status, body }) => `${status} ${body.code}`)).toEqual(Array(3).fill('503 storage_unavailable'));
    await sleep(3_000);
    way.speak();
    await expect.poll(() => said().some(({ message }) => message === 'the database is back'), { timeout: 20_000 }).toBe(true);
    const about = said().filter(({ message }) => !message.startsWith('definitions '));
    expect(about.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      'warn: the database cannot be used; until it is back, runs wait and requests are refused',
      'info: the database is back',
    ]);
    expect(about[1]?.outMs).toBeGreaterThan(3_000);
    expect(JSON.stringify(about)).not.toMatch(/\bat .*:\d+:\d+/); // no stack
  } finally {
    await node.kill();
    way.close();
    await postgres.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
