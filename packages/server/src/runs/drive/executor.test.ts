import { afterEach, describe, expect, it } from 'vitest';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';
import type { Tool } from '#tools';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());
async function open(options: TestRunsOptions = {}): Promise<TestRuns> {
  runs = await openTestRuns(options);
  return runs;
}

it('leaves nothing behind that waits for a deadline once the run has ended', async () => {
  const { time, start, until, row } = await open();
  const idle = time.pending;
  const runId = await start({ deadlineMs: 600_000 });
  expect(time.pending).toBe(idle + 1);
  await until(async () => (await row(runId)).status === 'completed');
  await until(() => time.pending === idle);
});

it('ends a run at its deadline, also while a tool runs', async () => {
  const hanging = makeTool({ name: 'hang', timeoutMs: 3_600_000, execute: () => new Promise(() => undefined) });
  const { start, until, row, time } = await open({
    tools: [hanging],
    async *attempt() {
      yield completed({ name: 'hang' });
    },
  });
  const runId = await start({ deadlineMs: 60_000 });
  await time.advance(59_900);
  expect((await row(runId)).status).toBe('running');
  await until(async () => (await row(runId)).status === 'failed');
  expect(await row(runId)).toMatchObject({ error: { code: 'deadline_exceeded' } });
});

it('does nothing any more for a run that is taken up after its deadline', async () => {
  let asked = 0;
  let isHeld = true;
  const { enqueue, until, row, time } = await open({
    async *attempt() {
      asked += 1;
      yield completed('done');
    },
    wrap: (store) => ({ claimRuns: async (workerId, limit) => (isHeld ? [] : store.claimRuns(workerId, limit)) }),
  });
  const runId = await enqueue({ deadlineMs: 1_000 });
  await time.advance(2_000);
  isHeld = false;
  await until(async () => (await row(runId)).status === 'failed');
  expect(await row(runId)).toMatchObject({ error: { code: 'deadline_exceeded' } });
  expect(asked).toBe(0);
});

it.each([0, 30_000])(
  'lets what was paid for finish when a budget refuses what comes after it, at once or after a wait of %i ms',
  async (waitForReservedMs) => {
    const ends: string[] = [];
    const slow = makeTool({
      name: 'slow',
      async execute(_input, { signal }) {
        await opened.time.timers.sleep(3_000);
        ends.push(signal.aborted ? 'told to stop' : 'in peace');
        return { type: 'ok', output: 'done' };
      },
    });
    const opened = await open({
      tools: [slow],
      budget: { waitForReservedMs },
      async *attempt() {
        yield completed({ name: 'slow' }, { name: 'slow' });
      },
    });
    const runId = await opened.start({ budget: { toolCalls: 1 } });
    await opened.until(async () => (await opened.row(runId)).status === 'failed');
    expect(ends).toEqual(['in peace']);
    expect((await opened.types(runId)).filter((type) => type === 'tool.started' || type === 'tool.completed')).toEqual([
      'tool.started',
      'tool.completed',
    ]);
    // Refused at once, what the first call holds may come back still; after a wait it is spent.
    const code = waitForReservedMs === 0 ? 'budget_contended' : 'budget_exceeded';
    expect(await opened.row(runId)).toMatchObject({ error: { code }, resumable: true });
  },
);

it('says nothing of what it gave up: whoever takes the run over knows that the outcome is unknown', async () => {
  let begun = 0;
  const deaf = makeTool({
    name: 'deaf',
    timeoutMs: 3_600_000,
    execute() {
      begun += 1;
      return new Promise(() => undefined);
    },
  });
  const { drain, start, until, row, types } = await open({
    tools: [deaf],
    async *attempt() {
      yield completed({ name: 'deaf' });
    },
  });
  const runId = await start({});
  await until(() => begun === 1);
  const before = await types(runId);
  await drain(100);
  expect(await types(runId)).toEqual(before);
  expect(before.at(-1)).toBe('tool.started');
  expect(await row(runId)).toMatchObject({ status: 'queued', leaseOwner: null });
});

it('runs its tools side by side under a limit of time that each of them could use up [verifies budget.wall.union]', async () => {
  let running = 0;
  let most = 0;
  const slow = makeTool({
    name: 'slow',
    timeoutMs: 30_000,
    async execute(input) {
      running += 1;
      most = Math.max(most, running);
      await opened.time.timers.sleep(Number(input.ms));
      running -= 1;
      return { type: 'ok', output: 'done' };
    },
  });
  let asked = 0;
  const opened = await open({
    tools: [slow],
    async *attempt() {
      asked += 1;
      yield asked === 1 ? completed(...[100, 400, 200, 100].map((ms) => ({ name: 'slow', input: { ms } }))) : completed('done');
    },
  });
  const runId = await opened.start({ budget: { wallMs: 20_000 } });
  await opened.until(async () => (await opened.row(runId)).status !== 'running');
  expect(await opened.row(runId)).toMatchObject({ status: 'completed', totals: { toolCalls: 4 } });
  expect(most).toBe(4);
  const { items } = await opened.engine.store.listBudgets(
    principal.tenantId,
    { scopes: [{ kind: 'run', id: runId }] },
    opened.time.clock.now(),
    { limit: 9 },
  );
  const wall = items.find(({ unit }) => unit === 'wallMs');
  expect(wall?.reserved).toBe(0);
  expect(wall?.spent).toBeGreaterThanOrEqual(400);
  expect(wall?.spent).toBeLessThan(500);
});

it('ends a tool when the time of the budget is over that it shares with others', async () => {
  const opened = await open({
    tools: [
      makeTool({
        name: 'slow',
        timeoutMs: 30_000,
        async execute(input, { signal }) {
          await opened.time.timers.sleep(Number(input.ms), signal);
          return { type: 'ok', output: 'done' };
        },
      }),
    ],
    async *attempt() {
      yield completed({ name: 'slow', input: { ms: 100 } }, { name: 'slow', input: { ms: 60_000 } });
    },
  });
  const runId = await opened.start({ budget: { wallMs: 2_000 } });
  await opened.until(async () => (await opened.row(runId)).status !== 'running');
  const { items } = await opened.engine.store.listBudgets(
    principal.tenantId,
    { scopes: [{ kind: 'run', id: runId }] },
    opened.time.clock.now(),
    { limit: 9 },
  );
  expect(items.find(({ unit }) => unit === 'wallMs')).toMatchObject({ spent: 2_000, reserved: 0 });
  expect(await opened.row(runId)).toMatchObject({ status: 'failed', error: { code: 'budget_exceeded', details: { unit: 'wallMs' } } });
});

it('withdraws the question that comes with a lost run which was asked to cancel [verifies approval.withdrawn]', async () => {
  const deaf = makeTool({ name: 'deaf', effects: 'once', timeoutMs: 3_600_000, execute: () => new Promise(() => undefined) });
  const { start, until, row, types, engine } = await open({
    settings: { heartbeatMs: 1_000 }, // the queue is looked at in between
    tools: [deaf],
    async *attempt() {
      yield completed({ name: 'deaf' });
    },
  });
  const runId = await start({});
  await until(async () => (await types(runId)).includes('tool.started'));
  // Its lease ends unseen, and its own next claim takes the run up: a person would be asked what became of the call.
  await engine.store.retireWorker(engine.workerId);
  await engine.store.requestCancel(principal.tenantId, runId, 'enough');
  await until(async () => (await row(runId)).status === 'cancelled');
  expect((await types(runId)).slice(-3)).toEqual(['approval.requested', 'budget.settled', 'run.cancelled']);
  const { items } = await engine.store.listApprovals(principal.tenantId, { runId }, { limit: 10 });
  expect(items).toMatchObject([{ kind: 'unknown_outcome', status: 'cancelled' }]);
});

describe('a run whose tenant has no room for its questions', () => {
  const guarded = { name: 'guarded', tools: ['*'], policy: { allow: ['model:*'], approve: ['pay'] } };
  const asks = (...calls: readonly string[]) => ({
    tools: [makeTool({ name: 'pay', effects: 'once' })],
    agents: [guarded],
    async *attempt() {
      yield completed(...calls.map((name) => ({ name })));
    },
  });

  it('waits until there is room', async () => {
    const { start, until, row, engine } = await open({ ...asks('pay'), maxApprovals: 1 });
    const [first, second] = [await start({ agent: 'guarded' }), await start({ agent: 'guarded' })];
    await until(async () => (await row(first)).status === 'waiting');
    expect((await row(second)).status).toBe('running');
    await engine.store.requestCancel(principal.tenantId, first, 'enough');
    await until(async () => (await row(second)).status === 'waiting');
  });

  it('can be cancelled meanwhile', async () => {
    const { start, until, row, orchestrator } = await open({ ...asks('pay'), maxApprovals: 1 });
    const [first, second] = [await start({ agent: 'guarded' }), await start({ agent: 'guarded' })];
    await until(async () => (await row(first)).status === 'waiting');
    await orchestrator.runs.cancel(principal, second);
    await until(async () => (await row(second)).status === 'cancelled');
    expect((await row(first)).status).toBe('waiting');
  });

  it('fails, to be resumed, when there never will be', async () => {
    const { start, until, row } = await open({ ...asks('pay', 'pay'), maxApprovals: 1 });
    const runId = await start({ agent: 'guarded' });
    await until(async () => (await row(runId)).status !== 'running');
    expect(await row(runId)).toMatchObject({ status: 'failed', resumable: true, error: { code: 'quota_exceeded' } });
  });
});

it('gives a run back without waiting for a call that is found elsewhere, and waits for all others [verifies workers.restart]', async () => {
  let isKept = false;
  const heard: unknown[] = [];
  const held = (name: string, change: Partial<Tool>) =>
    makeTool({
      ...{ name, timeoutMs: 600_000, effects: 'once', ...change },
      execute: (_input, { signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            heard.push(signal.reason.code);
            resolve({ type: 'error', error: { code: 'lease_lost', message: 'another goes on', retryable: false } });
          });
        }),
    });
  for (const name of ['held', 'going']) {
    const opened = await open({
      tools: [held('held', {}), held('going', { rejoinable: true })],
      async *attempt() {
        yield completed({ name });
      },
      wrap: () => ({
        toolCallStates: async (_tenantId, [callKey = '']) =>
          isKept ? [{ callKey, status: 'held', answer: null, holder: 'w', delivery: 1, leaseUntil: 1, cancelled: false }] : [],
      }),
    });
    isKept = false;
    const runId = await opened.start({});
    await opened.until(async () => (await opened.types(runId)).includes('tool.started'));
    let isDrained = false;
    const drained = opened.drain(15_000).then(() => {
      isDrained = true;
    });
    await opened.time.advance(4_000); // it is not found yet
    expect(isDrained).toBe(false);
    isKept = true;
    await opened.time.advance(2_000);
    expect(isDrained).toBe(name === 'going');
    await opened.until(() => isDrained);
    await drained;
    expect(await opened.row(runId)).toMatchObject({ status: 'queued' });
    await opened.close();
  }
  expect(heard).toEqual(['lease_lost', 'lease_lost']);
});
