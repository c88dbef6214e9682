import { NexusError } from '#core';
import type { Report } from './reports.ts';

/**
 * The reports as they are when the files of one call were too many for the session or the tenant: the call failed, and the others stand. Null
 * when the error says nothing of a call that is reported here, so that trying again would end the same way.
 */
export function withoutRefusedFiles(error: unknown, reports: readonly Report[]): readonly Report[] | null {
  if (!(error instanceof NexusError) || (error.code !== 'payload_too_large' && error.code !== 'quota_exceeded')) return null;
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
