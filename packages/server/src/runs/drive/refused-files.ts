import { NexusError } from '#core';
import type { Report } from './reports.ts';

/** Too many, more than there is room for, and a content that was removed before it was named. */
const refusals: ReadonlySet<string> = new Set(['payload_too_large', 'quota_exceeded', 'storage_unavailable']);

/**
 * Writes what was reported. Where the files of one call are refused, that call failed, and what is left is written: all that stands. Fails
 * with an error that says nothing of a call that is reported here, as trying again would end the same way.
 */
export async function withoutRefusedFiles<R>(reports: readonly Report[], write: (told: readonly Report[]) => Promise<R>): Promise<R> {
  try {
    return await write(reports);
  } catch (error) {
    const without = withCallFailed(error, reports);
    if (without === null) throw error;
    return withoutRefusedFiles(without, write);
  }
}

function withCallFailed(error: unknown, reports: readonly Report[]): readonly Report[] | null {
  if (!(error instanceof NexusError) || !refusals.has(error.code)) return null;
  const callId = error.details?.callId;
  let found = false;
  const others = reports.map((report): Report => {
    if (report.type !== 'tool' || report.start.call.callId !== callId || report.end.type !== 'completed' || !report.end.files)
      return report;
    found = true;
    const { durationMs } = report.end;
    return { ...report, end: { type: 'failed', began: true, durationMs, error: error.toInfo() } };
  });
  return found ? others : null;
}
