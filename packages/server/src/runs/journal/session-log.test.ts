import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import type { RunRow } from '#storage';
import { createTranscripts } from './session-log.ts';

it('reads nothing of a session that is busy, however many runs wait in it, for a run that is to wait as well', async () => {
  const row = (index: number) => ({ runId: `run_${index}` as RunId, status: 'queued', lastSeq: 1, createdAt: index }) as RunRow;
  const items = Array.from({ length: 50 }, (_, index) => row(50 - index));
  let read = 0;
  const transcripts = createTranscripts(
    {
      getRun: async () => null,
      listRuns: async () => ({ items, nextCursor: null }),
      readEvents: async () => {
        read += 1;
        return [];
      },
    },
    1_000,
  );
  const place = { tenantId: 'default' as TenantId, sessionId: 'ses_1' as SessionId, runId: 'run_51' as RunId };
  expect(await transcripts.read(place, null, true)).toEqual({ reading: { runs: [] }, head: items[0] });
  expect(read).toBe(0);
  expect((await transcripts.read(place, null)).reading.runs).toHaveLength(50);
  expect(read).toBe(50);
});
