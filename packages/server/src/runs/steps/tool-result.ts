import type { ErrorInfo, JournalData } from '@nexus-agent/protocol';
import { changedArguments, type RunState, type ToolCallState } from '#runs/journal';
import type { ArtifactOfCall } from '#tools';
import { type Proposal, propose } from './proposal.ts';

/** How a call ends, as the model is told. */
export type ToolEnd =
  | {
      readonly type: 'ok';
      readonly output: string;
      readonly durationMs?: number;
      readonly waitedMs?: number;
      readonly costMicroUsd?: number;
      readonly files?: JournalData<'tool.completed'>['files'];
      readonly artifact?: JournalData<'tool.completed'>['artifact'];
      readonly givenBy?: string;
    }
  | {
      readonly type: 'error' | 'denied' | 'cancelled';
      readonly error: ErrorInfo;
      readonly durationMs?: number;
      readonly waitedMs?: number;
      readonly givenBy?: string;
    };

export function artifactInEvent({ artifactId: id, cut: _cut, ...kept }: ArtifactOfCall) {
  return { id, ...kept };
}

export function failure(code: ErrorInfo['code'], message: string): ToolEnd {
  return { type: 'error', error: { code, message, retryable: false } };
}

/** Journals the end of a call. A failure becomes a result that tells the model what was wrong. */
export function proposeResult(state: RunState, call: ToolCallState, end: ToolEnd): Proposal {
  const output =
    end.type === 'ok'
      ? end.output
      : JSON.stringify({
          error: {
            code: end.error.code,
            message: end.error.message,
            ...(end.error.details === undefined ? {} : { details: end.error.details }),
          },
        });
  const note = changedArguments(state.calls.find(({ callId }) => callId === call.callId) ?? call);
  const data: JournalData<'tool.completed'> = {
    step: state.step,
    callId: call.callId,
    name: call.name,
    status: end.type,
    output,
    ...(note === null ? {} : { note }),
    ...(end.type === 'ok' ? {} : { error: end.error }),
    ...(end.type === 'ok' && end.costMicroUsd !== undefined ? { costMicroUsd: end.costMicroUsd } : {}),
    ...(end.type !== 'ok' || end.files === undefined ? {} : { files: end.files }),
    ...(end.type !== 'ok' || end.artifact === undefined ? {} : { artifact: end.artifact }),
    ...(end.durationMs === undefined ? {} : { durationMs: Math.round(end.durationMs) }),
    ...(end.waitedMs === undefined ? {} : { waitedMs: Math.round(end.waitedMs) }),
    ...(end.givenBy === undefined ? {} : { givenBy: end.givenBy }),
  };
  return propose({ events: [{ type: 'tool.completed', data }] });
}
