import type { RunId, TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import type { StoredEvent } from '#storage';
import { createTranscripts } from './transcript.ts';

const tenantId = 'default' as TenantId;
const runOf = (index: number) => `run_${index}` as RunId;

/** Runs of one session, each going on from the one before, each saying 1,000 characters. */
function sessionOf(runs: number) {
  const reads: string[] = [];
  const store = {
    async readEvents(_: TenantId, runId: RunId): Promise<readonly StoredEvent[]> {
      reads.push(runId);
      const index = Number(runId.slice('run_'.length));
      const data = {
        sessionId: 's',
        agent: 'a',
        agentVersion: 'v',
        input: [{ type: 'text', text: `${index} ${'x'.repeat(1_000)}` }],
        history: index === 0 ? [] : [runOf(index - 1)],
        principal: 'local',
      };
      return [{ seq: 1, type: 'run.created', at: 0, data: JSON.stringify(data) }];
    },
  };
  return { store, reads, last: runOf(runs - 1) };
}

it('reads each run of a session once while there is room', async () => {
  const { store, reads, last } = sessionOf(20);
  const transcripts = createTranscripts(store, 1_000_000);
  expect((await transcripts.load(tenantId, last)).messages).toHaveLength(20);
  await transcripts.load(tenantId, last);
  await transcripts.load(tenantId, runOf(10));
  expect(reads).toHaveLength(20);
});

it('keeps no more characters than it may, and says the same all the same', async () => {
  const { store, reads, last } = sessionOf(20);
  const transcripts = createTranscripts(store, 6_000);
  const first = await transcripts.load(tenantId, last);
  reads.length = 0;
  expect(await transcripts.load(tenantId, runOf(0))).toMatchObject({ messages: [{ role: 'user' }] });
  expect(reads).toEqual([runOf(0)]);
  expect(await transcripts.load(tenantId, last)).toEqual(first);
});
