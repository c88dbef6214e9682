import type { RunId, WhileBusy } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { completed, openTestRuns, principal, type TestRuns } from '#runs/testing';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

/** A session whose model answers each request once it is let go. */
async function openBusy() {
  const order: string[] = [];
  const held = new Map<string, () => void>();
  const opened = await openTestRuns({
    agents: [{ name: 'careful', policy: { allow: ['*'], approve: ['guarded'] } }, { name: 'boss', subagents: ['aide'] }, { name: 'aide' }],
    tools: [makeTool({ name: 'guarded', effects: 'once' })],
    async *attempt({ request: { messages } }, { signal }) {
      const last = messages.at(-1);
      const said = last?.role === 'user' && last.content[0]?.type === 'text' ? last.content[0].text : 'result';
      order.push(said);
      if (said !== 'result' && said !== 'delegate')
        await new Promise<void>((resolve, reject) => {
          held.set(said, resolve);
          signal?.addEventListener('abort', () => reject(signal.reason));
        });
      if (said === 'ask') yield completed({ name: 'guarded' });
      else if (said === 'delegate') yield completed({ name: 'agent_aide', input: { task: 'aid' } });
      else yield completed(`did ${said}`);
    },
  });
  runs = opened;
  const { session } = await opened.orchestrator.sessions.create(principal, { agent: 'careful' }, {});
  const start = (input: string, whileBusy?: WhileBusy, more: { agent?: string; deadlineMs?: number; budget?: { tokens: number } } = {}) =>
    opened.orchestrator.runs
      .start(principal, { sessionId: session.id, input, ...(whileBusy === undefined ? {} : { whileBusy }), ...more }, {})
      .then(({ run }) => ({ ...run, id: run.id as RunId })); // as the engine numbered it
  const is = (runId: RunId, status: string) => opened.until(async () => (await opened.row(runId)).status === status);
  return {
    ...opened,
    sessionId: session.id,
    order,
    start,
    is,
    async release(input: string) {
      await opened.until(() => held.has(input));
      held.get(input)?.();
    },
  };
}

describe('a run that is started while another one of its session works', () => {
  it('waits for it by default, says so, and begins when it has ended', async () => {
    const { start, release, is, order, orchestrator } = await openBusy();
    const first = await start('one');
    const second = await start('two');
    const third = await start('three', 'queue');
    expect(second).toMatchObject({ status: 'queued', waitingFor: { reason: 'session', behind: first.id } });
    expect(await orchestrator.runs.get(principal, third.id)).toMatchObject({ waitingFor: { reason: 'session', behind: second.id } });
    await release('one');
    await release('two');
    await release('three');
    for (const { id } of [first, second, third]) await is(id, 'completed');
    expect(order).toEqual(['one', 'two', 'three']);
    expect(await orchestrator.runs.get(principal, third.id)).not.toHaveProperty('waitingFor');
  });

  it('is refused if it does not want to wait, and leaves nothing behind', async () => {
    const { start, engine } = await openBusy();
    const first = await start('one');
    await expect(start('two', 'reject')).rejects.toMatchObject({ code: 'session_busy', details: { runId: first.id } });
    expect((await engine.store.listRuns(principal.tenantId, {}, { limit: 10 })).items).toHaveLength(1);
  });

  it('is not refused where nothing works', async () => {
    const { start, release, is } = await openBusy();
    const first = await start('one', 'reject');
    await release('one');
    await is(first.id, 'completed');
    expect(await start('two', 'reject')).toMatchObject({ status: 'running' });
  });

  it('cancels the other and follows it', async () => {
    const { start, release, is, types, row } = await openBusy();
    const first = await start('one');
    const second = await start('two', 'interrupt');
    await release('two');
    await is(second.id, 'completed');
    expect(await row(first.id)).toMatchObject({ status: 'cancelled', cancelRequested: expect.stringContaining(second.id) });
    expect(await types(first.id)).toContain('run.cancelled');
  });

  it('cancels the other while that one waits for its sub-agent, and the sub-agent with it', async () => {
    const { start, release, is, engine } = await openBusy();
    const first = await start('delegate', 'queue', { agent: 'boss' });
    await is(first.id, 'waiting');
    const second = await start('two', 'interrupt');
    await is(first.id, 'cancelled');
    await release('two');
    await is(second.id, 'completed');
    const { items } = await engine.store.listRuns(principal.tenantId, { parentRunId: first.id }, { limit: 10 });
    for (const { runId } of items) await is(runId, 'cancelled');
    expect(items).toHaveLength(1);
  });

  it('works beside it where it wants to', async () => {
    const { start, release, is } = await openBusy();
    const first = await start('one');
    const second = await start('two', 'parallel');
    expect(second.status).toBe('running');
    await release('two');
    await is(second.id, 'completed');
    await release('one');
    await is(first.id, 'completed');
  });

  it('does not wait for one that waits for a person', async () => {
    const { start, release, is } = await openBusy();
    const asking = await start('ask');
    const queued = await start('two');
    expect(queued.status).toBe('queued');
    await release('ask');
    await is(asking.id, 'waiting');
    await release('two');
    await is(queued.id, 'completed');
    expect(await start('three')).toMatchObject({ status: 'running' });
  });

  it('waits for the sub-agents of the other', async () => {
    const { start, release, is, row, order } = await openBusy();
    const first = await start('delegate', 'queue', { agent: 'boss' });
    const second = await start('two');
    await is(first.id, 'waiting');
    expect(await row(second.id)).toMatchObject({ status: 'queued', waiting: { reason: 'session' } });
    await release('aid');
    await release('two');
    await is(second.id, 'completed');
    expect(order).toEqual(['delegate', 'aid', 'result', 'two']);
  });

  it('may be cancelled while it waits, and fails at its deadline', async () => {
    const { start, is, order, orchestrator, row, time } = await openBusy();
    const first = await start('one');
    const second = await start('two');
    const third = await start('three', 'queue', { deadlineMs: 5_000 });
    await orchestrator.runs.cancel(principal, second.id);
    await is(second.id, 'cancelled');
    await time.advance(6_000);
    await is(third.id, 'failed');
    expect((await row(third.id)).error).toMatchObject({ code: 'deadline_exceeded' });
    expect((await row(first.id)).status).toBe('running');
    expect(order).toEqual(['one']);
  });

  it('is cancelled with its session', async () => {
    const { start, is, orchestrator, sessionId } = await openBusy();
    const first = await start('one');
    const second = await start('two');
    await orchestrator.sessions.close(principal, sessionId);
    await is(first.id, 'cancelled');
    await is(second.id, 'cancelled');
  });

  it('is the same run when the request comes again', async () => {
    const { start, orchestrator, sessionId } = await openBusy();
    await start('one');
    const again = () => orchestrator.runs.start(principal, { sessionId, input: 'two', whileBusy: 'interrupt' }, { idempotencyKey: 'k' });
    const [first, second] = [await again(), await again()];
    expect(second).toMatchObject({ created: false, run: { id: first.run.id } });
  });
});

it('lets each of many runs that are started at once work by itself, and forgets none', async () => {
  const { start, order, is, release } = await openBusy();
  const names = Array.from({ length: 12 }, (_, index) => `run ${index}`);
  const started = await Promise.all(names.map((name) => start(name)));
  for (let done = 0; done < names.length; done++) {
    const { until } = runs as TestRuns; // opened above
    await until(() => order.length === done + 1);
    await release(order[done] ?? '');
  }
  for (const { id } of started) await is(id, 'completed');
  expect([...order].sort()).toEqual([...names].sort());
});

it('exists and fails, to be resumed, where its budget refuses its first call once it has waited; one that begins at once is refused', async () => {
  const { start, release, is, row, types, engine } = await openBusy();
  const budget = { tokens: 1 };
  const opened = runs as TestRuns; // opened above
  await expect(opened.orchestrator.runs.start(principal, { input: 'alone', budget }, {})).rejects.toMatchObject({
    code: 'budget_exceeded',
  });
  expect((await engine.store.listRuns(principal.tenantId, {}, { limit: 10 })).items).toEqual([]);
  await start('one');
  const waiting = await start('two', 'queue', { budget });
  expect(waiting.status).toBe('queued');
  await release('one');
  await is(waiting.id, 'failed');
  expect(await row(waiting.id)).toMatchObject({ error: { code: 'budget_exceeded' }, resumable: true });
  expect((await types(waiting.id)).slice(-2)).toEqual(['budget.refused', 'run.failed']);
});
