import { expect, it } from 'vitest';
import { NexusError } from '#core';
import { withoutRefusedFiles } from './refused-files.ts';
import type { Report } from './reports.ts';

/** What is looked at of a report. */
const reportOf = (callId: string) =>
  ({
    type: 'tool',
    start: { call: { callId } },
    end: { type: 'completed', durationMs: 5, files: { treeId: 'ses_1' } },
  }) as unknown as Report;
const reports = [reportOf('call_1'), reportOf('call_2')];
const refusing = (code: 'payload_too_large' | 'quota_exceeded' | 'storage_unavailable', details: Record<string, unknown>) =>
  new NexusError(code, 'no', { details, retryable: false });

it.each(['payload_too_large', 'quota_exceeded', 'storage_unavailable'] as const)(
  'fails the call whose files are refused as %s, and writes the others',
  async (code) => {
    const told: (readonly Report[])[] = [];
    const written = await withoutRefusedFiles(reports, async (some) => {
      told.push(some);
      if (told.length === 1) throw refusing(code, { callId: 'call_1' });
      return 'written';
    });
    expect(written).toBe('written');
    expect(told[0]).toBe(reports);
    expect(told[1]?.[0]).toMatchObject({ end: { type: 'failed', began: true, durationMs: 5, error: { code } } });
    expect(told[1]?.[1]).toBe(reports[1]);
  },
);

it.each([
  ['of no call', refusing('storage_unavailable', {})],
  ['of a call that is not reported', refusing('storage_unavailable', { callId: 'call_9' })],
  ['of another kind', new NexusError('internal', 'no', { details: { callId: 'call_1' } })],
])('fails with an error %s', async (_, error) => {
  await expect(withoutRefusedFiles(reports, () => Promise.reject(error))).rejects.toBe(error);
});
