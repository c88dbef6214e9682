import { expect, it } from 'vitest';
import { NexusError } from '#core';
import { withoutRefused } from './refused.ts';
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
    const written = await withoutRefused(reports, async (some) => {
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
  await expect(withoutRefused(reports, () => Promise.reject(error))).rejects.toBe(error);
});

it.each(['quota_exceeded', 'storage_unavailable', 'not_found'] as const)(
  'cuts the result whose artifact is refused as %s, and the call has gone well [verifies tools.artifacts.refused]',
  async (code) => {
    const cut = { shownChars: 4, noteChars: 6, totalChars: 90 };
    const artifact = { artifactId: 'art_1', cut };
    const kept = { type: 'tool', start: { call: { callId: 'call_3' } }, end: { type: 'completed', output: 'head[note]\nand', artifact } };
    const told: (readonly Report[])[] = [];
    await withoutRefused([...reports, kept as unknown as Report], async (some) => {
      told.push(some);
      if (told.length === 1) throw new NexusError(code, 'no', { details: { what: 'artifact', artifactId: 'art_1' } });
    });
    expect(told[1]?.slice(0, 2)).toEqual(reports);
    const output = 'head\n[output cut: the first 4 of 90 characters are shown; ask for a smaller part to see the rest]\nand';
    expect(told[1]?.[2]).toMatchObject({ end: { type: 'completed', output } });
    expect(told[1]?.[2]).not.toHaveProperty('end.artifact');
  },
);
