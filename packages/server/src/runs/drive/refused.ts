import { refusedArtifact } from '#calls';
import { NexusError } from '#core';
import { withoutArtifact } from '#tools';
import type { Report } from './reports.ts';

/** Too many, more than there is room for, and a content that was removed before it was named. */
const refusals: ReadonlySet<string> = new Set(['payload_too_large', 'quota_exceeded', 'storage_unavailable']);

/**
 * Writes what was reported. Where the files of one call are refused, that call failed; where what is kept of its result is, the result is cut;
 * and what is left is written: all that stands. Fails with an error that says nothing of a call that is reported here, as trying again would
 * end the same way.
 */
export async function withoutRefused<R>(reports: readonly Report[], write: (told: readonly Report[]) => Promise<R>): Promise<R> {
  try {
    return await write(reports);
  } catch (error) {
    const without = withResultCut(error, reports) ?? withCallFailed(error, reports);
    if (without === null) throw error;
    return withoutRefused(without, write);
  }
}

function withResultCut(error: unknown, reports: readonly Report[]): readonly Report[] | null {
  const artifactId = refusedArtifact(error);
  if (artifactId === null) return null;
  let found = false;
  const others = reports.map((report): Report => {
    // It may be of what a client gave, which is looked up anew.
    if (report.type === 'poke' && !found && report.refused?.has(artifactId) !== true) {
      found = true;
      return { type: 'poke', refused: new Set([...(report.refused ?? []), artifactId]) };
    }
    if (report.type !== 'tool' || report.end.type !== 'completed' || report.end.artifact?.artifactId !== artifactId) return report;
    found = true;
    return { ...report, end: withoutArtifact(report.end) };
  });
  return found ? others : null;
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
