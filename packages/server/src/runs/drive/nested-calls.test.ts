import type { JournalEvent, RunId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { fold, toJournalEvent } from '#runs/journal';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';
import type { ResumedCall, Tool } from '#tools';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

type Wanted = readonly (readonly [name: string, input?: unknown])[];

/** A tool that calls others: round by round, as its script says. What it goes on from is the number of the round. */
function scripted(rounds: readonly Wanted[], told: ResumedCall['results'][number][][] = []): Tool {
  const states = new Map<string, { readonly round: number; readonly ids: number }>();
  return makeTool({
    name: 'script',
    callsTools: true,
    async execute(_input, { resume, calling, callId }) {
      const { round, ids } = resume === undefined ? { round: 0, ids: 0 } : (states.get(resume.state.sha256) ?? { round: -1, ids: 0 });
      if (resume !== undefined) told.push([...resume.results]);
      const wanted = rounds[round];
      if (wanted === undefined) return { type: 'ok', output: { rounds: round, offered: calling?.offered } };
      const state = { sha256: `${callId}/${round + 1}`, bytes: 1 };
      states.set(state.sha256, { round: round + 1, ids: ids + wanted.length });
      const calls = wanted.map(([name, input = {}], index) => ({ id: ids + index + 1, name, input: JSON.stringify(input) }));
      return { type: 'suspended', state, calls, fuelUsed: round, printed: `round ${round}` };
    },
  });
}

async function open(rounds: readonly Wanted[], options: TestRunsOptions = {}) {
  const told: ResumedCall['results'][number][][] = [];
  let asked = 0;
  const opened = await openTestRuns({
    async *attempt() {
      asked += 1;
      yield asked === 1 ? completed({ name: 'script' }) : completed('done');
    },
    ...options,
    tools: [scripted(rounds, told), ...(options.tools ?? [echo])],
  });
  runs = opened;
  const journal = async (runId: RunId): Promise<readonly JournalEvent[]> =>
    (await opened.engine.store.readEvents(principal.tenantId, runId, { after: 0, limit: 2_000 })).map(toJournalEvent);
  const ended = (runId: RunId) =>
    opened.until(async () => ['completed', 'failed', 'cancelled', 'waiting'].includes((await opened.row(runId)).status));
  const replays = async (runId: RunId) => (await opened.orchestrator.runs.replay(principal, runId)).matches;
  return { ...opened, told, journal, ended, replays };
}

const echo = makeTool({ name: 'echo', execute: async (input) => ({ type: 'ok', output: { got: input } }) });

const ofType = <T extends JournalEvent['type']>(journal: readonly JournalEvent[], type: T) =>
  journal.filter((event): event is Extract<JournalEvent, { type: T }> => event.type === type);

describe('calls that a call makes', () => {
  it('are calls of the run: each decided, reserved, run and journalled for itself [verifies code.calls]', async () => {
    const { start, ended, row, journal, told, replays } = await open([
      [
        ['echo', { a: 1 }],
        ['echo', { b: 2 }],
      ],
      [['echo']],
    ]);
    const runId = await start({});
    await ended(runId);
    expect(await row(runId)).toMatchObject({ status: 'completed', totals: { toolCalls: 4 } });
    const events = await journal(runId);
    const [parent] = ofType(events, 'tool.requested');
    const nested = ofType(events, 'tool.requested').slice(1);
    expect(nested.map(({ data }) => [data.parentCallId, data.index, data.input])).toEqual([
      [parent?.data.callId, 1, { a: 1 }],
      [parent?.data.callId, 2, { b: 2 }],
      [parent?.data.callId, 3, {}],
    ]);
    for (const { data } of nested) {
      const own = events.filter((event) => 'callId' in event.data && event.data.callId === data.callId).map(({ type }) => type);
      expect(own).toEqual(['tool.requested', 'tool.started', 'tool.completed']);
    }
    expect(ofType(events, 'tool.started').map(({ data }) => [data.name, data.attempt, data.resumes, data.decision.effect])).toEqual([
      ['script', 1, undefined, 'allow'],
      ['echo', 1, undefined, 'allow'],
      ['echo', 1, undefined, 'allow'],
      ['script', 2, 1, 'allow'],
      ['echo', 1, undefined, 'allow'],
      ['script', 3, 2, 'allow'],
    ]);
    expect(ofType(events, 'tool.suspended').map(({ data }) => [data.attempt, data.fuelUsed, data.printed])).toEqual([
      [1, 0, 'round 0'],
      [2, 1, 'round 1'],
    ]);
    expect(told.map((results) => results.map(({ id, output }) => [id, JSON.parse(output)]))).toEqual([
      [
        [1, { got: { a: 1 } }],
        [2, { got: { b: 2 } }],
      ],
      [[3, { got: {} }]],
    ]);
    expect(Object.keys(fold(events).openReservations)).toEqual([]);
    expect(await replays(runId)).toBe(true);
  });

  it('are told in the order in which they ended, once all have', async () => {
    const slow = makeTool({
      name: 'slow',
      async execute({ ms }) {
        await opened.time.timers.sleep(Number(ms));
        return { type: 'ok', output: 'x' };
      },
    });
    const opened = await open(
      [
        [
          ['slow', { ms: 300 }],
          ['slow', { ms: 100 }],
          ['slow', { ms: 200 }],
        ],
      ],
      { tools: [slow] },
    );
    await opened.ended(await opened.start({}));
    expect(opened.told.map((results) => results.map(({ id }) => id))).toEqual([[2, 3, 1]]);
  });

  it('fail for themselves: what policy denies, what does not exist, what has no use for its arguments, what would call on [verifies code.denied]', async () => {
    const fussy = makeTool({ name: 'fussy', inputSchema: { type: 'object', required: ['x'], properties: { x: { type: 'number' } } } });
    const opened = await open([[['forbidden'], ['nothing'], ['fussy', { x: 'no' }], ['script'], ['echo']]], {
      tools: [echo, fussy, makeTool({ name: 'forbidden' })],
      agents: [{ name: 'held', tools: ['*'], policy: { allow: ['*'], deny: ['forbidden'] } }],
    });
    const runId = await opened.start({ agent: 'held' });
    await opened.ended(runId);
    expect(await opened.row(runId)).toMatchObject({ status: 'completed' });
    const [results = []] = opened.told;
    const codes = results.map(({ id, isError, output }) => [id, isError ? JSON.parse(output).error.code : 'ok']);
    expect(Object.fromEntries(codes)).toEqual({
      1: 'policy_denied',
      2: 'tool_not_found',
      3: 'tool_input_invalid',
      4: 'tool_not_found',
      5: 'ok',
    });
    expect(JSON.parse(results.find(({ id }) => id === 2)?.output ?? '').error.message).toMatch(/^there is no tool "nothing".*are: .*fussy/);
    expect(ofType(await opened.journal(runId), 'policy.denied')).toHaveLength(1);
    expect(await opened.replays(runId)).toBe(true);
  });

  it('run side by side as far as the agent lets them, fifty as well as two', async () => {
    let running = 0;
    let most = 0;
    const slow = makeTool({
      name: 'slow',
      async execute() {
        running += 1;
        most = Math.max(most, running);
        await opened.time.timers.sleep(100);
        running -= 1;
        return { type: 'ok', output: 'x' };
      },
    });
    const opened = await open([Array.from({ length: 50 }, () => ['slow'] as const)], {
      tools: [slow],
      agents: [{ name: 'wide', tools: ['*'], policy: { allow: ['*'] }, maxParallelTools: 8 }],
    });
    const runId = await opened.start({ agent: 'wide' });
    await opened.ended(runId);
    expect(await opened.row(runId)).toMatchObject({ status: 'completed', totals: { toolCalls: 51 } });
    expect(opened.told[0]).toHaveLength(50);
    expect(most).toBe(8);
  });

  it('count in the budget: one that it refuses stops the run, which goes on from there [verifies code.budget]', async () => {
    const { start, ended, row, journal, told, engine, orchestrator, replays } = await open([[['echo']], [['echo']], [['echo']]], {
      budget: { waitForReservedMs: 0 },
    });
    const runId = await start({ budget: { toolCalls: 3 } });
    await ended(runId);
    expect(await row(runId)).toMatchObject({
      status: 'failed',
      resumable: true,
      error: { code: 'budget_exceeded' },
      totals: { toolCalls: 3 },
    });
    expect(told).toHaveLength(2);
    const scope = { kind: 'run' as const, id: runId };
    await engine.store.commit({
      tenantId: principal.tenantId,
      ledger: [{ type: 'limit', scope, unit: 'toolCalls', window: 'total', limit: 10 }],
    });
    await orchestrator.runs.resume(principal, runId);
    await ended(runId);
    expect(await row(runId)).toMatchObject({ status: 'completed', totals: { toolCalls: 4 } });
    expect(told).toHaveLength(3);
    expect(ofType(await journal(runId), 'tool.completed')).toHaveLength(4);
    expect(await replays(runId)).toBe(true);
  });

  it('wait for people, and nothing of the run is in memory meanwhile [verifies code.approval]', async () => {
    const opened = await open([[['guarded', { a: 1 }], ['echo']]], {
      tools: [echo, makeTool({ name: 'guarded', effects: 'once', execute: async (input) => ({ type: 'ok', output: input }) })],
      agents: [{ name: 'careful', tools: ['*'], policy: { allow: ['*'], approve: ['guarded'] } }],
    });
    const { start, ended, row, journal, told, engine, time } = opened;
    const idle = time.pending;
    const runId = await start({ agent: 'careful' });
    await ended(runId);
    const { status, waiting, leaseOwner } = await row(runId);
    expect([status, waiting?.reason, leaseOwner]).toEqual(['waiting', 'approval', null]);
    await opened.until(() => time.pending === idle);
    expect(told).toEqual([]);
    await engine.store.answerApproval(principal.tenantId, waiting?.approvals?.[0] ?? '', {
      decision: 'approve',
      answer: {},
      decidedBy: 'ada',
      at: time.clock.now(),
    });
    await opened.until(async () => (await row(runId)).status === 'completed');
    expect(told.map((results) => results.map(({ id }) => id))).toEqual([[2, 1]]);
    expect(ofType(await journal(runId), 'run.resumed')).toHaveLength(1);
    expect(await opened.replays(runId)).toBe(true);
  });

  it('are withdrawn with the run', async () => {
    const opened = await open([[['guarded']]], {
      tools: [makeTool({ name: 'guarded' })],
      agents: [{ name: 'careful', tools: ['*'], policy: { allow: ['*'], approve: ['guarded'] } }],
    });
    const runId = await opened.start({ agent: 'careful' });
    await opened.ended(runId);
    const [approvalId = ''] = (await opened.row(runId)).waiting?.approvals ?? [];
    await opened.orchestrator.runs.cancel(principal, runId);
    await opened.until(async () => (await opened.row(runId)).status === 'cancelled');
    expect(await opened.engine.store.getApproval(principal.tenantId, approvalId)).toMatchObject({ status: 'cancelled' });
    expect(Object.keys(fold(await opened.journal(runId)).openReservations)).toEqual([]);
    expect(await opened.replays(runId)).toBe(true);
  });

  it('belong to what a fork begins with', async () => {
    const opened = await open([[['echo', { a: 1 }]]]);
    const runId = await opened.start({});
    await opened.ended(runId);
    const { run } = await opened.orchestrator.runs.fork(principal, runId, {}, {});
    const forkId = run.id as RunId; // as the engine numbered it
    await opened.ended(forkId);
    expect(await opened.row(forkId)).toMatchObject({ status: 'completed', totals: { toolCalls: 0 } });
    expect(fold(await opened.journal(forkId)).messages).toEqual(fold(await opened.journal(runId)).messages);
    expect(opened.told).toHaveLength(1);
    expect(await opened.replays(forkId)).toBe(true);
  });
});

it('is no call that a tool makes that may make none', async () => {
  const liar = makeTool({
    name: 'script',
    execute: async () => ({
      type: 'suspended',
      state: { sha256: 'a', bytes: 1 },
      calls: [{ id: 1, name: 'echo', input: '{}' }],
      fuelUsed: 0,
      printed: '',
    }),
  });
  const opened = await open([], { tools: [echo] });
  await opened.close();
  let asked = 0;
  runs = await openTestRuns({
    tools: [liar, echo],
    async *attempt() {
      asked += 1;
      yield asked === 1 ? completed({ name: 'script' }) : completed('done');
    },
  });
  const runId = await runs.start({});
  await runs.until(async () => (await runs?.row(runId))?.status === 'completed');
  expect(await runs.types(runId)).not.toContain('tool.suspended');
});
