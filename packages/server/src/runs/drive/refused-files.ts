import { NexusError } from '#core';
import type { Report } from './reports.ts';

/** Too many, more than there is room for, and a content that was removed before it was named. */
const refusals: ReadonlySet<string> = new Set(['payload_too_large', 'quota_exceeded', 'storage_unavailable']);

/**
 * The reports as they are when the files of one call were refused: the call failed, and the others stand. Null
 * when the error says nothing of a call that is reported here, so that trying again would end the same way.
 */
export function withoutRefusedFiles(error: unknown, reports: readonly Report[]): readonly Report[] | null {
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
