import { toolAmounts } from '#calls';
import type { RunState } from '#runs/journal';
import {
  type Engine,
  merge,
  type Proposal,
  proposeQuestion,
  proposeResult,
  type RunContext,
  release,
  settle,
  type ToolEnd,
  type ToolStart,
} from '#runs/steps';
import type { ToolCallEnd } from '#tools';
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
  return merge([proposeResult(state, call, journalled(end)), paid]);
}

function journalled(end: ToolCallEnd): ToolEnd {
  if (end.type === 'completed') return { ...end, type: 'ok' };
  return { ...end, type: end.error.code === 'cancelled' ? 'cancelled' : 'error' };
}
