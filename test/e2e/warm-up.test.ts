import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type NodeProcess, startNode } from './support/node-process.ts';

let folder: string;
let node: NodeProcess;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-warm-'));
  node = await startNode(folder, { NEXUS_DATA_DIR: folder, HOME: folder });
});

afterEach(async () => {
  await node.kill();
  rmSync(folder, { recursive: true, force: true });
});

/** Rows of each table. */
function rows(): Record<string, number> {
  const database = new DatabaseSync(join(folder, 'nexus.db'), { readOnly: true });
  try {
    const tables = database.prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'").all();
    return Object.fromEntries(
      tables.map(({ name }) => [String(name), Number(database.prepare(`select count(*) as n from "${String(name)}"`).get()?.n)]),
    );
  } finally {
    database.close();
  }
}

const warm = () => node.log().some(({ message }) => message === 'what a first run needs is ready');

it('a server that nobody asks makes ready what a first run needs, and writes nothing for it [verifies start.warm]', async () => {
  const before = rows();
  for (const endAt = performance.now() + 15_000; !warm(); await sleep(20)) expect(performance.now()).toBeLessThan(endAt);
  expect(rows()).toEqual(before);
  expect(before.runs).toBe(0);
});

it('serves what comes meanwhile, and ends when it is told to [verifies start.warm]', async () => {
  const answers = await Promise.all([
    node.call('GET', '/readyz'),
    node.call('POST', '/v1/runs', { agent: 'chat', input: '[[sim say="hello"]]' }),
    node.call('GET', '/openapi.json'),
    node.call('GET', '/openapi.json'),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([200, expect.any(Number), 200, 200]);
  expect(answers[1]?.status).toBeLessThan(300);
  expect(answers[2]?.body).toEqual(answers[3]?.body);
  expect(await node.stop()).toBe(0);
  expect(node.log().filter(({ level }) => level === 'error')).toEqual([]);
});
