import { type JournalData, noUsage, type RunId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import type { ModelPart } from '#llm';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());
async function open(options: TestRunsOptions = {}): Promise<TestRuns> {
  runs = await openTestRuns(options);
  return runs;
}

const { tenantId } = principal;
const hasEnded = async ({ row }: TestRuns, runId: RunId) => ['completed', 'failed', 'cancelled'].includes((await row(runId)).status);

describe('a run whose creation the store did not answer', () => {
  it.each([
    ['was written', true],
    ['was not written', false],
  ])('is told as an error, and is driven all the same where it %s', async (_, isWritten) => {
    let lost = false;
    const opened = await open({
      wrap: (store) => ({
        async commit(commit) {
          if (commit.createRun === undefined || lost) return store.commit(commit);
          lost = true;
          if (isWritten) await store.commit(commit);
          throw new NexusError('storage_unavailable', 'the answer was lost');
        },
      }),
    });
    await expect(opened.start({})).rejects.toMatchObject({ code: 'storage_unavailable' });
    const { items } = await opened.engine.store.listRuns(tenantId, {}, { limit: 10 });
    expect(items).toHaveLength(isWritten ? 1 : 0);
    for (const { runId } of items) {
      await opened.until(() => hasEnded(opened, runId));
      expect((await opened.row(runId)).status).toBe('completed');
    }
  });
});

it('does not begin in a session that is closed between the look at it and the writing of the run', async () => {
  let sessionId: string | undefined;
  const opened = await open({
    wrap: (store) => ({
      async commit(commit) {
        const { createRun } = commit;
        if (createRun !== undefined && createRun.sessionId === sessionId) await store.closeSession(tenantId, createRun.sessionId);
        return store.commit(commit);
      },
    }),
  });
  for (const begin of [opened.start, opened.enqueue]) {
    const { session } = await opened.orchestrator.sessions.create(principal, {}, {});
    sessionId = session.id;
    await expect(begin({ sessionId })).rejects.toMatchObject({ code: 'conflict' });
  }
  expect((await opened.engine.store.listRuns(tenantId, {}, { limit: 10 })).items).toEqual([]);
});

it('goes on from the newest run of its session that was completed, whatever became of those after it', async () => {
  let fails = false;
  const rejected: ModelPart = {
    type: 'failed',
    error: { code: 'provider_rejected', message: 'no', retryable: false },
    retryAfterMs: null,
    usage: noUsage,
    sent: true,
  };
  const opened = await open({
    async *attempt() {
      yield fails ? rejected : completed('done');
    },
  });
  const { session } = await opened.orchestrator.sessions.create(principal, {}, {});
  const sessionId = session.id;
  const historyOf = async (runId: RunId) => {
    const [created] = await opened.engine.store.readEvents(tenantId, runId, { after: 0, limit: 1 });
    return (JSON.parse(created?.data ?? '{}') as JournalData<'run.created'>).history;
  };
  const first = await opened.start({ sessionId });
  await opened.until(() => hasEnded(opened, first));
  fails = true;
  const second = await opened.start({ sessionId });
  await opened.until(() => hasEnded(opened, second));
  expect((await opened.row(second)).status).toBe('failed');
  const third = await opened.enqueue({ sessionId });
  const fourth = await opened.enqueue({ sessionId });
  expect(await Promise.all([first, second, third, fourth].map(historyOf))).toEqual([[], [first], [first], [first]]);
});
