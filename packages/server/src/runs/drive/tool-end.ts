import { toolAmounts } from '#calls';
import type { RunState } from '#runs/journal';
import {
  type Engine,
  merge,
  type Proposal,
  propose,
  proposeQuestion,
  proposeResult,
  type RunContext,
  release,
  settle,
  type ToolEnd,
  type ToolStart,
} from '#runs/steps';
import type { FilesOfCall, ToolCallEnd } from '#tools';
import type { TimeUsed } from './wall-time.ts';

/** Journals what a tool gave and settles it. A `once` tool that was cut off may have taken effect: a person is asked. */
export function proposeToolEnd(
  engine: Engine,
  context: RunContext,
  state: RunState,
  start: ToolStart,
  { wallMs, heir }: TimeUsed,
  end: ToolCallEnd,
  stopped: boolean,
): Proposal {
  const call = state.calls.find((candidate) => candidate.callId === start.call.callId) ?? start.call;
  if (end.type === 'failed' && end.error.code === 'tool_outcome_unknown' && !stopped)
    return proposeQuestion(engine, context, state, call, 'unknown_outcome', start.input, null);
  const actual = toolAmounts(start.tool, end, wallMs);
  const paid =
    actual === null
      ? release(start.reserve.reservationId, { heir, adds: { toolCalls: -1 } })
      : settle(start.reserve.reservationId, { ...actual, wallMs }, { heir });
  return merge([proposeResult(state, call, journalled(end)), paid, proposeFiles(context, start, end)]);
}

/** What the call changed of files, to be written with its result. */
function proposeFiles({ runId }: RunContext, { call }: ToolStart, end: ToolCallEnd): Proposal {
  if (end.type !== 'completed' || end.files === undefined || end.files.changes.length === 0) return propose({});
  const { treeId, changes } = end.files;
  return propose({ files: [{ treeId, runId, callId: call.callId, changes }] });
}

function journalled(end: ToolCallEnd): ToolEnd {
  if (end.type === 'completed') {
    const { files, ...rest } = end;
    return { ...rest, type: 'ok', ...(files === undefined ? {} : { files: filesInEvent(files) }) };
  }
  return { ...end, type: end.error.code === 'cancelled' ? 'cancelled' : 'error' };
}

function filesInEvent({ treeId, version, changes }: FilesOfCall) {
  const changed = changes.map(({ path, content }) => ({ path, sha256: content?.sha256 ?? null, bytes: content?.bytes ?? 0 }));
  return { of: treeId, version, ...(changed.length === 0 ? {} : { changed }) };
}
