import type { RunId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';

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

it.each([' \n', '\u200b', '\u0000'])('is refused where nobody could see what is asked: %j', async (input) => {
  const opened = await open();
  await expect(opened.start({ input })).rejects.toMatchObject({ code: 'invalid_request', message: expect.stringContaining('input') });
  await expect(opened.start({ input: [{ type: 'text', text: input }] })).rejects.toMatchObject({ code: 'invalid_request' });
  const image = { type: 'image' as const, mediaType: 'image/png' as const, data: { base64: 'AAAA' } };
  await expect(opened.start({ input: [{ type: 'text', text: input }, image] })).resolves.toMatch(/^run_/);
  expect((await opened.engine.store.listRuns(tenantId, {}, { limit: 10 })).items).toHaveLength(1);
});
