import type { ErrorInfo } from '@nexus-agent/protocol';
import { decideForRun, denialMessage } from '#calls';
import type { DecisionRequest } from '#policy';
import type { RunState } from '#runs/journal';
import { ask, completed, type Engine, merge, type Proposal, type RunContext, settle, type ToolStart } from '#runs/steps';
import type { Authorize, ToolExecution } from '#tools';

export interface ToolCallHooks {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly traceparent: string | undefined;
  readonly onOutput: (text: string) => void;
}

/** Runs a started tool call. Whatever it touches outside its arguments is decided by policy first, and recorded before it happens. */
export async function callTool(engine: Engine, context: RunContext, start: ToolStart, hooks: ToolCallHooks): Promise<ToolExecution> {
  const needsFiles = start.tool.permissions.some((permission) => permission.startsWith('fs.') || permission.startsWith('code.'));
  const workspace = needsFiles ? await engine.workspaceOf(context.tenantId, context.sessionId) : '';
  return engine.tools.execute(
    start.tool,
    start.input,
    {
      tenantId: context.tenantId,
      sessionId: context.sessionId,
      runId: context.runId,
      callId: start.call.callId,
      attempt: start.attempt,
      idempotencyKey: start.idempotencyKey,
      workspace,
      signal: hooks.signal,
      onOutput: hooks.onOutput,
      async authorize(request) {
        const decision = decideForRun(engine, context, start.call.callId, {
          action: request.action,
          resource: outsideResource(request),
          context: {},
        });
        await engine.store.commit({ tenantId: context.tenantId, decisions: [decision.row] });
        if (decision.record.effect === 'allow') return { allowed: true };
        const error: ErrorInfo = { code: 'policy_denied', message: denialMessage(decision.record), retryable: false };
        return { allowed: false, error };
      },
      ...(hooks.traceparent === undefined ? {} : { traceparent: hooks.traceparent }),
    },
    { timeoutMs: hooks.timeoutMs },
  );
}

/** What a tool wants to touch, with what policies may read of it: of a host its port and scheme. */
export function outsideResource(wanted: Parameters<Authorize>[0]): DecisionRequest['resource'] {
  if (wanted.action === 'secret.use') return { type: 'Secret', id: wanted.resource };
  const { port, scheme } = wanted.context ?? {};
  const attributes = { ...(typeof port === 'number' ? { port } : {}), ...(typeof scheme === 'string' ? { scheme } : {}) };
  return { type: 'Host', id: wanted.resource, attributes };
}

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
  const actual = {
    toolCalls: 1,
    wallMs: Math.min(Math.ceil(execution.durationMs), wallMs),
    ...(execution.type === 'ok' ? { costMicroUsd: execution.costMicroUsd } : { costMicroUsd: start.tool.maxCostMicroUsd ?? 0 }),
  };
  const cancelled = execution.type === 'error' && execution.error.code === 'cancelled';
  return merge([completed(state, call, cancelled ? { ...execution, type: 'cancelled' } : execution), settle(start.reservationId, actual)]);
}
