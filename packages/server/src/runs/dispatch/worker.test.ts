import type { RunId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';
import type { Commit, Store } from '#storage';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());
async function open(options: TestRunsOptions = {}): Promise<TestRuns> {
  runs = await openTestRuns(options);
  return runs;
}

const unwritable = new NexusError('internal', 'this cannot be written');

describe('a process that is shut down', () => {
  it('takes up what it is just claiming, gives it back, and claims nothing more', async () => {
    let hold: Promise<void> | undefined;
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    let claims = 0;
    let asked = 0;
    const { enqueue, row, orchestrator, until, time } = await open({
      async *attempt() {
        asked += 1;
        yield completed('done');
      },
      wrap: (store) => ({
        async claimRuns(workerId, limit) {
          const rows = await store.claimRuns(workerId, limit);
          claims += 1;
          await hold;
          return rows;
        },
      }),
    });
    await until(() => claims > 0);
    hold = held;
    const runId = await enqueue({});
    orchestrator.wake({ tenantId: principal.tenantId, runId });
    await until(async () => (await row(runId)).status === 'running');
    let drained = false;
    const draining = orchestrator.drain(60_000).then(() => {
      drained = true;
    });
    await time.advance(1_000);
    expect(drained).toBe(false);
    release();
    await until(() => drained);
    await draining;
    expect(await row(runId)).toMatchObject({ status: 'queued', leaseOwner: null });
    const before = claims;
    orchestrator.wake({ tenantId: principal.tenantId, runId });
    await time.advance(10_000);
    expect(claims).toBe(before);
    expect(asked).toBe(0);
  });

  it('ends its lease only after the runs that it gave up are back in the queue', async () => {
    const order: string[] = [];
    const isGivenBack = ({ run }: Commit) => run?.patch.status === 'queued';
    let begun = false;
    const { start, until, drain, time } = await open({
      tools: [
        makeTool({
          name: 'deaf',
          timeoutMs: 3_600_000,
          execute() {
            begun = true;
            return new Promise(() => undefined);
          },
        }),
      ],
      async *attempt() {
        yield completed({ name: 'deaf' });
      },
      wrap: (store) => ({
        async commit(commit) {
          if (isGivenBack(commit)) await time.timers.sleep(20);
          const result = await store.commit(commit);
          if (isGivenBack(commit)) order.push('given back');
          return result;
        },
        async retireWorker(workerId) {
          order.push('retired');
          await store.retireWorker(workerId);
        },
      }),
    });
    await start({});
    await until(() => begun);
    await drain(0);
    expect(order).toEqual(['given back', 'retired']);
  });
});

it('is told of a sub-agent only once the sub-agent is written', async () => {
  const written = new Set<string>();
  const opened = await open({
    agents: [{ name: 'parent', subagents: ['child'] }, { name: 'child' }],
    async *attempt({ request }) {
      const isParent = request.tools.some(({ name }) => name === 'agent_child');
      yield isParent && request.messages.length === 1 ? completed({ name: 'agent_child', input: { task: 'think' } }) : completed('done');
    },
    wrap: (store) => ({
      async commit(commit) {
        const result = await store.commit(commit);
        if (commit.createRun !== undefined) written.add(commit.createRun.runId);
        return result;
      },
    }),
  });
  const woken: [string, boolean][] = [];
  opened.onBus('wake', (message) => {
    const { runId } = JSON.parse(message) as { runId: string };
    woken.push([runId, written.has(runId)]);
  });
  const parent = await opened.start({ agent: 'parent' });
  await opened.until(async () => (await opened.row(parent)).status === 'completed');
  const [child] = [...written].filter((runId) => runId !== parent);
  expect(woken.filter(([runId]) => runId === child)).toEqual([[child, true]]);
});

it('does nothing for a run that was asked to cancel while nobody drove it', async () => {
  let asked = 0;
  let isHeld = true;
  const { enqueue, until, row, orchestrator } = await open({
    async *attempt() {
      asked += 1;
      yield completed('done');
    },
    wrap: (store) => ({ claimRuns: async (workerId, limit) => (isHeld ? [] : store.claimRuns(workerId, limit)) }),
  });
  const runId = await enqueue({});
  await orchestrator.runs.cancel(principal, runId, 'enough');
  isHeld = false;
  await until(async () => (await row(runId)).status === 'cancelled');
  expect(asked).toBe(0);
});

it('never drives more runs than it may, and gets round to all of them', async () => {
  let most = 0;
  const opened = await open({
    settings: { maxLiveRuns: 3 },
    async *attempt() {
      await opened.time.timers.sleep(100);
      most = Math.max(most, opened.orchestrator.liveRuns);
      yield completed('done');
    },
  });
  const runIds: RunId[] = [];
  for (let count = 0; count < 10; count++) runIds.push(await (count % 2 === 0 ? opened.start({}) : opened.enqueue({})));
  for (const runId of runIds) await opened.until(async () => (await opened.row(runId)).status === 'completed');
  expect(most).toBe(3);
});

it('never drives more than it may, however many are begun at the same time and while the queue is being read', async () => {
  let most = 0;
  const opened = await open({
    settings: { maxLiveRuns: 3 },
    async *attempt() {
      most = Math.max(most, opened.orchestrator.liveRuns);
      await opened.time.timers.sleep(100);
      yield completed('done');
    },
  });
  const runIds = await Promise.all(Array.from({ length: 12 }, (_, count) => (count % 3 === 0 ? opened.enqueue({}) : opened.start({}))));
  await opened.until(async () => (await opened.row(runIds[0] as RunId)).status === 'completed'); // twelve were begun
  await expect(opened.start({ agent: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
  const late = await Promise.all([opened.start({}), opened.start({}), opened.start({}), opened.start({})]);
  for (const runId of [...runIds, ...late]) await opened.until(async () => (await opened.row(runId)).status === 'completed');
  expect(most).toBe(3);
  // What was refused holds no place.
  await opened.until(() => opened.orchestrator.liveRuns === 0);
  await Promise.all([opened.start({}), opened.start({}), opened.start({})]);
  expect(opened.orchestrator.liveRuns).toBe(3);
});

it('takes no new run for its own while its lease has ended, and leaves it in the queue', async () => {
  let away = false;
  const { start, row, time, until } = await open({
    wrap: (store) => ({
      heartbeat: (workerId, leaseMs) =>
        away ? Promise.reject(new NexusError('storage_unavailable', 'the store is away')) : store.heartbeat(workerId, leaseMs),
    }),
  });
  away = true;
  await time.advance(5_000);
  const runId = await start({});
  expect(await row(runId)).toMatchObject({ status: 'queued', leaseOwner: null });
  away = false;
  await until(async () => (await row(runId)).status === 'completed');
});

describe('a process that gave no sign of life for longer than its lease', () => {
  /** The store as this process has it: while it stands still nothing that it sends as a sign of life arrives. */
  function standing() {
    let still = false;
    const heartbeat = (store: Store): Store['heartbeat'] => {
      return (workerId, ...rest) =>
        still && workerId === 'worker_1'
          ? Promise.reject(new NexusError('storage_unavailable', 'nothing arrives'))
          : store.heartbeat(workerId, ...rest);
    };
    /** It stands still for so long that another one takes so many of its runs over. */
    async function untilTaken(store: Store, count: number): Promise<void> {
      still = true;
      await runs?.time.advance(20_000);
      await store.heartbeat('worker_2', 3_600_000, 0);
      expect(await store.claimRuns('worker_2', count, 0)).toHaveLength(count);
      still = false;
    }
    return { heartbeat, untilTaken };
  }

  it('asks no model for a run that another one took over before it heard that it had begun it', async () => {
    const { heartbeat, untilTaken } = standing();
    let asked = 0;
    const { start, row, time, orchestrator } = await open({
      async *attempt() {
        asked += 1;
        yield completed('done');
      },
      wrap: (store) => ({
        heartbeat: heartbeat(store),
        async commit(commit) {
          const result = await store.commit(commit);
          if (commit.createRun !== undefined) await untilTaken(store, 1);
          return result;
        },
      }),
    });
    const runId = await start({});
    await time.advance(5_000);
    expect(asked).toBe(0);
    expect(await row(runId)).toMatchObject({ leaseOwner: 'worker_2', epoch: 2 });
    expect(orchestrator.liveRuns).toBe(0);
  });

  it('gives up at once what others took over meanwhile, and nothing else', async () => {
    const { heartbeat, untilTaken } = standing();
    let begun = 0;
    let told = 0;
    const { start, time, engine, orchestrator, until } = await open({
      tools: [
        makeTool({
          name: 'long',
          timeoutMs: 3_600_000,
          execute: (_input, { signal }) => {
            begun += 1;
            return new Promise((_, reject) => {
              signal.addEventListener('abort', () => {
                told += 1;
                reject(signal.reason);
              });
            });
          },
        }),
      ],
      async *attempt() {
        yield completed({ name: 'long' });
      },
      wrap: (store) => ({ heartbeat: heartbeat(store) }),
    });
    await Promise.all([start({}), start({}), start({})]);
    await until(() => begun === 3);
    await untilTaken(engine.store as Store, 2); // the tests' engine has the whole of it
    await until(() => told > 0);
    await time.advance(10_000);
    expect(told).toBe(2);
    expect(orchestrator.liveRuns).toBe(1);
  });
});

it('takes an answer up that came unheard while another call of the run still worked', async () => {
  const { promise: gate, resolve: release } = Promise.withResolvers<void>();
  const { start, until, row, engine, time } = await open({
    agents: [{ name: 'careful', policy: { allow: ['*'], approve: ['probe'] } }],
    tools: [makeTool(), makeTool({ name: 'slow', execute: () => gate.then(() => ({ type: 'ok', output: 'done' })) })],
    async *attempt({ request }) {
      yield request.messages.length === 1 ? completed({ name: 'probe' }, { name: 'slow' }) : completed('done');
    },
  });
  const runId = await start({ agent: 'careful' });
  const pending = () => engine.store.listApprovals(principal.tenantId, { status: 'pending' }, { limit: 1 });
  await until(async () => (await pending()).items.length > 0);
  const [approval] = (await pending()).items;
  const answer = { decision: 'approve', answer: {}, decidedBy: 'ada', at: time.clock.now() } as const;
  // Nobody tells the worker: the message was lost, or the answer came through another process.
  await engine.store.answerApproval(principal.tenantId, approval?.approvalId ?? '', answer);
  expect((await row(runId)).status).toBe('running');
  release();
  await until(async () => (await row(runId)).status === 'completed');
});

it('hears of a sub-agent that it finds again only while it reads of another one', async () => {
  const children: string[] = [];
  let ended = 0;
  const { promise: bothAsked, resolve: askBoth } = Promise.withResolvers<void>();
  const { promise: otherRead, resolve: readOther } = Promise.withResolvers<void>();
  let readsOfSecond = 0;
  let found = false;
  const { start, until, row } = await open({
    agents: [{ name: 'parent', subagents: ['child'] }, { name: 'child' }],
    async *attempt({ request }) {
      const isParent = request.tools.some(({ name }) => name === 'agent_child');
      if (!isParent) await bothAsked;
      const call = { name: 'agent_child', input: { task: 'think' } };
      yield isParent && request.messages.length === 1 ? completed(call, call) : completed('done');
    },
    wrap: (store) => ({
      async commit(commit) {
        if (commit.createRun !== undefined && commit.createRun.parentRunId !== null) children.push(commit.createRun.runId);
        if (commit.run?.patch.status === 'completed' && children.includes(commit.run.runId)) ended += 1;
        return store.commit(commit);
      },
      // The parent was taken up: it finds the second again, and reads of it; meanwhile it finds the first again.
      async getRun(tenantId, runId) {
        if (ended === 2 && runId === children[0] && !found) {
          found = true;
          await otherRead;
        }
        if (ended === 2 && runId === children[1]) {
          readsOfSecond += 1;
          if (readsOfSecond === 2) {
            readOther();
            for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
          }
        }
        return store.getRun(tenantId, runId);
      },
    }),
  });
  const runId = await start({ agent: 'parent' });
  await until(async () => (await row(runId)).status === 'waiting' && children.length === 2);
  askBoth();
  await until(async () => (await row(runId)).status === 'completed');
  expect([found, readsOfSecond]).toEqual([true, 2]);
});

describe('a run whose work cannot be written', () => {
  /** A run that asks a person before its tool runs. Settlements fail where the test says, by their number. */
  async function openBreaking(breaks: ReadonlySet<number>) {
    let settlements = 0;
    const opened = await open({
      agents: [{ name: 'careful', policy: { allow: ['*'], approve: ['probe'] } }],
      tools: [makeTool()],
      async *attempt({ request }) {
        yield request.messages.length === 1 ? completed({ name: 'probe' }) : completed('done');
      },
      wrap: (store) => ({
        async commit(commit) {
          if (commit.ledger?.some(({ type }) => type === 'settle')) {
            settlements += 1;
            if (breaks.has(settlements)) throw unwritable;
          }
          return store.commit(commit);
        },
      }),
    });
    const approve = async () => {
      const { items } = await opened.engine.store.listApprovals(principal.tenantId, { status: 'pending' }, { limit: 1 });
      const [{ approvalId, runId } = { approvalId: '', runId: '' as RunId }] = items;
      const answer = { decision: 'approve', answer: {}, decidedBy: 'ada', at: opened.time.clock.now() } as const;
      await opened.engine.store.answerApproval(principal.tenantId, approvalId, answer);
      opened.orchestrator.wake({ tenantId: principal.tenantId, runId });
    };
    return { ...opened, approve };
  }

  it('ends as failed after as many tries in a row as it may have', async () => {
    const { start, until, row, types, engine } = await openBreaking(new Set([1, 2]));
    const runId = await start({ agent: 'careful' });
    await until(async () => (await row(runId)).status === 'failed');
    expect(await row(runId)).toMatchObject({ error: { code: 'internal' }, resumable: true });
    expect((await types(runId)).filter((type) => type === 'model.started')).toHaveLength(2);
    expect(await engine.store.listReservations(principal.tenantId, { state: 'open' })).toEqual([]);
  });

  it('counts only breaks in a row: one that could be written in between starts anew', async () => {
    const { start, until, row, approve } = await openBreaking(new Set([1, 3]));
    const runId = await start({ agent: 'careful' });
    await until(async () => (await row(runId)).status === 'waiting');
    await approve();
    await until(async () => ['completed', 'failed'].includes((await row(runId)).status));
    expect(await row(runId)).toMatchObject({ status: 'completed', output: 'done' });
  });
});

it('gives back a run that it owns at a later epoch than it drives', async () => {
  const { promise: gate, resolve: release } = Promise.withResolvers<void>();
  let asked = 0;
  let lose = false;
  let claims = 0;
  const { start, until, row, engine } = await open({
    settings: { heartbeatMs: 1_000 }, // the queue is looked at in between
    async *attempt() {
      asked += 1;
      if (asked === 1) await gate;
      yield completed('done');
    },
    wrap: (store) => ({
      async claimRuns(workerId, limit) {
        const rows = await store.claimRuns(workerId, limit);
        claims += 1;
        if (!lose || rows.length === 0) return rows;
        lose = false;
        await store.heartbeat(workerId, 60_000);
        throw new NexusError('storage_unavailable', 'the answer was lost');
      },
    }),
  });
  const runId = await start({});
  await until(() => asked === 1);
  // Its lease ends unseen, and its own next claim takes the run once more.
  lose = true;
  await engine.store.retireWorker(engine.workerId);
  await until(() => !lose);
  expect(await row(runId)).toMatchObject({ status: 'running', epoch: 2, leaseOwner: engine.workerId });
  const before = claims;
  await until(() => claims > before + 1);
  release();
  await until(async () => (await row(runId)).status === 'completed');
  expect(await row(runId)).toMatchObject({ epoch: 3 });
});
