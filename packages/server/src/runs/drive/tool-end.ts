import { toolAmounts } from '#calls';
import type { RunState } from '#runs/journal';
import { ask, completed, type Engine, merge, type Proposal, type RunContext, settle, type ToolStart } from '#runs/steps';
import type { ToolExecution } from '#tools';

/** Journals what a tool gave and settles it. A `once` tool that was cut off may have taken effect: a person is asked. */
export function proposeToolEnd(
  engine: Engine,
  context: RunContext,
  state: RunState,
  start: ToolStart,
  wallMs: number,
  execution: ToolExecution,
  stopped: boolean,
): Proposal {
  const call = state.calls.find((candidate) => candidate.callId === start.call.callId) ?? start.call;
  if (execution.type === 'error' && execution.error.code === 'tool_outcome_unknown' && !stopped)
    return ask(engine, context, state, call, 'unknown_outcome', start.input, null);
  const cancelled = execution.type === 'error' && execution.error.code === 'cancelled';
  return merge([
    completed(state, call, cancelled ? { ...execution, type: 'cancelled' } : execution),
    settle(start.reservationId, toolAmounts(start.tool, execution, wallMs)),
  ]);
}
