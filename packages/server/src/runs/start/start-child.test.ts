import type { RunId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { completed, openTestRuns, principal, type TestRuns } from '#runs/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const asksChild = { name: 'agent_child', input: { task: 'think' } };

it('cancels a sub-agent that is written after the cancel of its parent, which did not find it', async () => {
  let cancelled = false;
  let childRunId: RunId | undefined;
  const opened = await openTestRuns({
    agents: [{ name: 'parent', subagents: ['child'] }, { name: 'child' }],
    async *attempt() {
      yield completed(asksChild);
    },
    wrap: (store) => ({
      async commit(commit) {
        const { createRun } = commit;
        if (createRun?.parentRunId != null && !cancelled) {
          cancelled = true;
          childRunId = createRun.runId;
          await opened.orchestrator.runs.cancel(principal, createRun.parentRunId, 'enough');
        }
        return store.commit(commit);
      },
    }),
  });
  runs = opened;
  const parent = await opened.start({ agent: 'parent' });
  await opened.until(async () => (await opened.row(parent)).status === 'cancelled');
  await opened.until(() => childRunId !== undefined);
  const child = childRunId as RunId; // it was written above
  await opened.until(async () => (await opened.row(child)).status === 'cancelled');
  expect(await opened.row(child)).toMatchObject({ cancelRequested: 'enough' });
});
