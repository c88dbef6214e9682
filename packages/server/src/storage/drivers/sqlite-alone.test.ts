import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import type { Program } from '#storage/program';
import { knownDead } from '#storage/tables';
import { openSqlite } from './sqlite.ts';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'nexus-alone-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const at = 1_800_000_000_000;
const opened = (nowMs: number) => openSqlite({ dataDir, synchronous: 'NORMAL', timeoutMs: 1_000, clock: createManualClock(nowMs) });

function* all(...statements: string[]): Program<readonly unknown[]> {
  let rows: readonly unknown[] = [];
  for (const sql of statements) ({ rows } = yield { type: 'raw', sql, params: [] });
  return rows;
}
const leases = () => all('select worker_id, expires_at from workers order by worker_id');
const due = () => all('select run_id, due_at from runs order by run_id');
const worker = (id: string, expiresAt: number, leaseMs: number) =>
  `insert into workers (worker_id, expires_at, lease_ms, live_runs) values ('${id}', ${expiresAt}, ${leaseMs}, 0)`;
const run = (id: string, dueAt: number) => `insert into runs (tenant_id, run_id, session_id, agent, agent_version, status, step, last_seq,
  totals, resumable, epoch, woken, due_at, created_at, updated_at) values ('t', '${id}', 's', 'a', 'v', 'queued', 0, 0, '{}', 0, 0, 0, ${dueAt}, 0, 0)`;

async function left(...statements: string[]): Promise<void> {
  const driver = await opened(at);
  await driver.write(() => all(...statements));
  await driver.close();
}

it('ends the leases of those who had the file open before, and leaves the ends that are known', async () => {
  await left(worker('dead', at + 3_000, 3_000), worker('long dead', at - 60_000, 3_000), worker('retired', 0, 0));
  const driver = await opened(at + 1);
  expect(await driver.read(leases)).toEqual([
    { worker_id: 'dead', expires_at: knownDead },
    { worker_id: 'long dead', expires_at: at - 60_000 },
    { worker_id: 'retired', expires_at: 0 },
  ]);
  await driver.close();
});

it('touches nothing while somebody else has the file open', async () => {
  await left(worker('alive', at + 3_000, 3_000));
  const first = await opened(at + 5_000);
  await first.write(() => all("update workers set expires_at = expires_at + 60000 where worker_id = 'alive'"));
  const before = await first.read(leases);
  const second = await opened(at);
  expect(await second.read(leases)).toEqual(before);
  await first.close();
  await second.close();
});

it('makes due what was due when the last sign of life was given, by a clock that is behind it', async () => {
  const deadline = at + 600_000;
  await left(worker('dead', at + 3_000, 3_000), run('was due', at - 10), run('woken', at + 400), run('waits', deadline));
  const behind = at - 30_000;
  const driver = await opened(behind);
  expect(await driver.read(due)).toEqual([
    { run_id: 'waits', due_at: deadline },
    { run_id: 'was due', due_at: behind },
    { run_id: 'woken', due_at: behind },
  ]);
  await driver.close();
});

it('leaves due times as they are by a clock that is right', async () => {
  await left(worker('dead', at + 3_000, 3_000), run('rests', at + 2_000));
  const driver = await opened(at + 1);
  expect(await driver.read(due)).toEqual([{ run_id: 'rests', due_at: at + 2_000 }]);
  await driver.close();
});

it('leaves jobs to whoever comes', async () => {
  await left(`insert into jobs (name, owner, expires_at) values ('retention', 'dead', ${at + 900_000})`);
  const driver = await opened(at - 30_000);
  expect(await driver.read(() => all('select * from jobs'))).toEqual([]);
  await driver.close();
});
