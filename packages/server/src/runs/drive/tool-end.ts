import type { JournalData } from '@nexus-agent/protocol';
import { artifactRow, toolAmounts } from '#calls';
import { isTooDeep } from '#core';
import { nestedCallId, type RunState } from '#runs/journal';
import {
  artifactInEvent,
  type BegunTool,
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
} from '#runs/steps';
import type { FilesOfCall, ToolCallEnd } from '#tools';
import type { TimeUsed } from './wall-time.ts';

/** Journals what a tool gave and settles it. A `once` tool that was cut off may have taken effect: a person is asked. */
export function proposeToolEnd(
  engine: Engine,
  context: RunContext,
  state: RunState,
  start: BegunTool,
  { wallMs, heir }: TimeUsed,
  end: ToolCallEnd,
  stopped: boolean,
): Proposal {
  const call = state.calls.find((candidate) => candidate.callId === start.call.callId) ?? start.call;
  if (end.type === 'failed' && end.error.code === 'tool_outcome_unknown' && !stopped)
    return proposeQuestion(engine, context, state, call, 'unknown_outcome', start.input, null);
  const counts = start.resume === null;
  const actual = toolAmounts(start.tool, end, wallMs, counts);
  const paid =
    actual === null
      ? release(start.reserve.reservationId, { heir, ...(counts ? { adds: { toolCalls: -1 } } : {}) })
      : settle(start.reserve.reservationId, { ...actual, wallMs }, { heir });
  if (end.type === 'suspended') return merge([proposeSuspended(state, start, end), paid]);
  return merge([
    proposeResult(state, call, journalled(end)),
    paid,
    proposeFiles(context, start, end),
    proposeArtifact(context, start, end),
  ]);
}

/** Journals where a call goes on, and what it waits for. */
function proposeSuspended({ step }: RunState, { call, tool, attempt }: BegunTool, end: ToolCallEnd & { type: 'suspended' }): Proposal {
  const { callId } = call;
  const { state, fuelUsed, printed, durationMs, waitedMs } = end;
  const suspended: JournalData<'tool.suspended'> = {
    ...{ step, callId, attempt, name: tool.name, state, fuelUsed, durationMs: Math.round(durationMs) },
    ...(printed === '' ? {} : { printed }),
    ...(waitedMs === undefined ? {} : { waitedMs: Math.round(waitedMs) }),
  };
  const wanted = end.calls.map(({ id, name, input }) => ({
    type: 'tool.requested' as const,
    data: { step, callId: nestedCallId(callId, id), index: id, name, parentCallId: callId, ...wantedInput(input) },
  }));
  return propose({ events: [{ type: 'tool.suspended', data: suspended }, ...wanted] });
}

const shownChars = 200;

function wantedInput(json: string): Pick<JournalData<'tool.requested'>, 'input' | 'invalidInput'> {
  if (isTooDeep(json)) return { input: null, invalidInput: json.slice(0, shownChars) };
  try {
    return { input: JSON.parse(json) };
  } catch {
    return { input: null, invalidInput: json.slice(0, shownChars) };
  }
}

/** What the call changed of files, to be written with its result. */
function proposeFiles({ runId }: RunContext, { call }: BegunTool, end: ToolCallEnd): Proposal {
  if (end.type !== 'completed' || end.files === undefined || end.files.changes.length === 0) return propose({});
  const { treeId, changes } = end.files;
  return propose({ files: [{ treeId, runId, callId: call.callId, changes }] });
}

/** What is kept of a result that was too long, to be written with it. */
function proposeArtifact({ charge }: RunContext, { call, tool }: BegunTool, end: ToolCallEnd): Proposal {
  if (end.type !== 'completed' || end.artifact === undefined) return propose({});
  return propose({ artifacts: [artifactRow(charge, { callId: call.callId, tool: tool.name }, end.artifact)] });
}

function journalled(end: Exclude<ToolCallEnd, { type: 'suspended' }>): ToolEnd {
  if (end.type === 'completed') {
    const { files, artifact, ...rest } = end;
    return {
      ...rest,
      type: 'ok',
      ...(files === undefined ? {} : { files: filesInEvent(files) }),
      ...(artifact === undefined ? {} : { artifact: artifactInEvent(artifact) }),
    };
  }
  return { ...end, type: end.error.code === 'cancelled' ? 'cancelled' : 'error' };
}

function filesInEvent({ treeId, version, changes }: FilesOfCall) {
  const changed = changes.map(({ path, content }) => ({ path, sha256: content?.sha256 ?? null, bytes: content?.bytes ?? 0 }));
  return { of: treeId, version, ...(changed.length === 0 ? {} : { changed }) };
}
