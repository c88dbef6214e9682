import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { controlConfig } from '#control/config';
import { NexusError } from '#core';
import { openTestRuns, principal, type TestRuns } from '#runs/testing';
import type { Store } from '#storage';
import { silentLogger } from '#telemetry/testing';
import { createRetention, type RetentionSettings } from './retention.ts';

const day = 86_400_000;
const { tenantId } = principal;
let runs: TestRuns | undefined;
afterEach(() => runs?.close());

async function open({
  settings = {},
  wrap = {},
  removeFiles,
  aheadMs = 0,
}: {
  /** By how much the clock of the machine is wrong. */
  aheadMs?: number;
  settings?: Partial<RetentionSettings>;
  wrap?: Partial<Store>;
  removeFiles?: (tenantId: TenantId, sessionId: SessionId) => Promise<void>;
} = {}) {
  // Days pass here: a process that looks at its queue twice a second would have much to do.
  const opened = await openTestRuns({ settings: { leaseMs: day, heartbeatMs: day / 2, pollMs: day / 2 } });
  runs = opened;
  const { time, engine } = opened;
  const files: string[] = [];
  const retention = (owner: string, store: Partial<Store> = {}, more: Partial<RetentionSettings> = {}) =>
    createRetention({
      store: { ...engine.store, ...wrap, ...store },
      clock: aheadMs === 0 ? time.clock : { ...time.clock, now: () => time.clock.now() + aheadMs },
      timers: time.timers,
      logger: silentLogger,
      metrics: engine.metrics,
      settings: { ...controlConfig.retention.parse({}), pauseMs: 0, ...settings, ...more },
      owner,
      removeContent: async () => 'kept',
      removeFiles: removeFiles ?? (async (_tenant, sessionId) => void files.push(sessionId)),
    });
  const job = retention('one');
  /** A look at everything, whose pauses pass. */
  const look = async (of = job) => {
    let ended = false;
    const looked = of.pass().finally(() => {
      ended = true;
    });
    await opened.until(() => ended);
    return looked;
  };
  const ended = async (request: { readonly sessionId?: string } = {}) => {
    const runId = await opened.start(request);
    await opened.until(async () => (await opened.row(runId)).status === 'completed');
    return opened.row(runId);
  };
  return { ...opened, retention, job, look, ended, files };
}

it('deletes nothing early because the clock of its machine was set', async () => {
  const { engine, look, ended } = await open({ settings: { sessionsDays: 10, decisionsDays: 10 }, aheadMs: 400 * day });
  const run = await ended();
  expect(await look()).toBe(true);
  expect(await engine.store.getSession(tenantId, run.sessionId)).not.toBeNull();
  expect((await engine.store.listDecisions(tenantId, { runId: run.runId }, { limit: 10 })).items).not.toEqual([]);
});

it('deletes a session so many days after anything last happened in it, with its runs and files, and keeps the others [verifies retention.bounded]', async () => {
  const { time, engine, look, ended, files, orchestrator } = await open({ settings: { sessionsDays: 10 } });
  const old = await ended();
  const used = await ended();
  await time.advance(8 * day);
  const again = await ended({ sessionId: used.sessionId });
  await time.advance(3 * day);
  expect(await look()).toBe(true);
  expect(await engine.store.getSession(tenantId, old.sessionId)).toBeNull();
  await expect(orchestrator.runs.get(principal, old.runId)).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('retention.sessionsDays'),
  });
  // What a session that lives has in it stays whole: its runs can be read, replayed and forked.
  for (const { runId } of [used, again]) expect(await orchestrator.runs.replay(principal, runId)).toMatchObject({ matches: true });
  expect((await orchestrator.runs.fork(principal, used.runId, {}, {})).created).toBe(true);
  // Whoever reads the end of a run has the time to.
  expect(await engine.store.readEvents(tenantId, old.runId, { after: 0, limit: 100 })).not.toEqual([]);
  await time.advance(61_000);
  await look();
  expect(await engine.store.readEvents(tenantId, old.runId, { after: 0, limit: 100 })).toEqual([]);
  expect(files).toEqual([old.sessionId]);
  expect(await engine.store.listRemovals(time.clock.now() + day, 100)).toEqual([]);
});

it('goes on where it was cut off, whatever fails in between, and holds up nothing else [verifies retention.kill]', async () => {
  let broken = true;
  const { time, engine, look, ended, retention, files } = await open({
    settings: { sessionsDays: 10, batchRows: 2, readersMs: 0 },
  });
  const gone: RunId[] = [];
  for (let index = 0; index < 3; index++) gone.push((await ended()).runId);
  await time.advance(11 * day);
  let steps = 0;
  const failing = retention('one', {
    removeSome: (removal, limit, keepMs) => {
      steps += 1;
      return broken && steps % 2 === 0
        ? Promise.reject(new NexusError('storage_unavailable', 'gone'))
        : engine.store.removeSome(removal, limit, keepMs);
    },
  });
  for (let looks = 0; looks < 4; looks++) await look(failing);
  expect(steps).toBeGreaterThan(4);
  broken = false;
  await look(failing);
  for (const runId of gone) expect(await engine.store.readEvents(tenantId, runId, { after: 0, limit: 100 })).toEqual([]);
  expect(files).toHaveLength(3);
});

it('is done by one process at a time, and ends between two steps when it is told to', async () => {
  const { time, look, ended, retention, engine } = await open({ settings: { idempotencyDays: 1, batchRows: 1, pauseMs: 10 } });
  for (let index = 0; index < 5; index++)
    await engine.store.commit({ tenantId, idempotency: { key: `k${index}`, requestHash: 'h', resourceId: 'r' } });
  await ended();
  await time.advance(2 * day);
  let deleted = 0;
  const one = retention('one', {
    prune: async (...args) => {
      const step = await engine.store.prune(...args);
      deleted += step.gone;
      return step;
    },
  });
  const looked = one.pass();
  await runs?.until(() => deleted === 2);
  expect(await retention('two').pass()).toBe(false);
  const stopped = one.stop();
  await time.advance(1_000);
  await Promise.all([looked, stopped]);
  expect(deleted).toBe(2);
  expect(await engine.store.countAged(tenantId, 'idempotencyKeys', { before: time.clock.now() - day, idleBefore: null }, 10)).toMatchObject(
    { count: 3 },
  );
  expect(await look(retention('two'))).toBe(true);
  expect(await engine.store.countAged(tenantId, 'idempotencyKeys', { before: time.clock.now() - day, idleBefore: null }, 10)).toMatchObject(
    { count: 0 },
  );
});

it('says what would go, deletes it for whoever asks, and keeps for ever what is to be kept', async () => {
  const { time, ended, retention, orchestrator, until } = await open({
    settings: { sessionsDays: 10, decisionsDays: 0, reservationsDays: 5, ledgerDays: 40, readersMs: 0 },
  });
  const { runId } = await ended();
  await time.advance(50 * day);
  const job = retention('one');
  const rowsOf = (rows: readonly { kind: string; count: number; keepDays: number; more: boolean }[]) =>
    Object.fromEntries(rows.map(({ kind, count, keepDays, more }) => [kind, [keepDays, count, more]]));
  expect(rowsOf(await job.preview(principal))).toMatchObject({
    sessions: [10, 1, false],
    decisions: [0, 0, false],
    reservations: [5, 1, false],
    // Although nothing has been added to the sums of its day yet, and its run is still there.
    ledgerEntries: [40, 1, false],
  });
  const counts = async (sessionsDays: number) => rowsOf(await retention('one', {}, { sessionsDays }).preview(principal)).ledgerEntries?.[1];
  expect(await counts(0)).toBe(0);
  expect(await counts(60)).toBe(0);
  expect(rowsOf(await job.preview({ ...principal, tenantId: 'other' as TenantId }))).toMatchObject({ sessions: [10, 0, false] });
  let done: Awaited<ReturnType<typeof job.prune>> | undefined;
  void job.prune(principal, new AbortController().signal).then((rows) => {
    done = rows;
  });
  await until(() => done !== undefined);
  expect(rowsOf(done ?? [])).toMatchObject({ sessions: [10, 1, false], ledgerEntries: [40, 1, false], decisions: [0, 0, false] });
  await expect(orchestrator.runs.get(principal, runId)).rejects.toMatchObject({ code: 'not_found' });
});
