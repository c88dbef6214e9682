import type { BudgetAmounts, ErrorInfo, ReservationId } from '@nexus-agent/protocol';
import type { DecisionRequest } from '#policy';
import type { ReserveOperation } from '#storage';
import type { Authorize, Tool, ToolExecution } from '#tools';
import type { ChargeContext } from './charge.ts';
import { decideForAgent, denialMessage, type RecordedDecision } from './decisions.ts';
import type { CallEngine } from './engine.ts';

/** Asks policy about a tool call with exactly the arguments that will run. */
export function decideTool(
  engine: CallEngine,
  charge: ChargeContext,
  callId: string,
  tool: Tool,
  context: DecisionRequest['context'] & { readonly arguments: Record<string, unknown> },
): RecordedDecision {
  return decideForAgent(engine, charge, callId, {
    action: 'tool.execute',
    resource: { type: 'Tool', id: tool.name, attributes: { effects: tool.effects, permissions: [...tool.permissions] } },
    context,
  });
}

/**
 * Reserves one tool call with the most that it may cost.
 *
 * @param wall whether its time counts: a sub-agent pays for its own
 */
export function reserveTool(
  engine: CallEngine,
  charge: ChargeContext,
  tool: Tool,
  { reservationId, timeoutMs, wall }: { readonly reservationId: ReservationId; readonly timeoutMs: number; readonly wall: boolean },
): ReserveOperation {
  return {
    type: 'reserve',
    reservationId,
    runId: charge.runId,
    scopes: charge.scopes,
    fixed: { toolCalls: 1, ...(tool.maxCostMicroUsd === undefined ? {} : { costMicroUsd: tool.maxCostMicroUsd }) },
    ...(wall ? { wallMs: { min: Math.min(100, timeoutMs), max: timeoutMs } } : {}),
    dispatched: true,
    expiresAt: engine.clock.now() + timeoutMs + engine.settings.reservationSlackMs,
  };
}

/** A tool call that is allowed and paid for. */
export interface GrantedToolCall {
  readonly tool: Tool;
  readonly input: Record<string, unknown>;
  readonly callId: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly timeoutMs: number;
}

export interface ToolCallHooks {
  readonly signal: AbortSignal;
  readonly traceparent?: string | undefined;
  readonly onOutput: (text: string) => void;
}

/** Runs it. Whatever it touches outside its arguments is decided by policy first, and recorded before it happens. */
export async function performTool(
  engine: CallEngine,
  charge: ChargeContext,
  call: GrantedToolCall,
  hooks: ToolCallHooks,
): Promise<ToolExecution> {
  const { tool, callId } = call;
  const needsFiles = tool.permissions.some((permission) => permission.startsWith('fs.') || permission.startsWith('code.'));
  const workspace = needsFiles ? await engine.workspaceOf(charge.tenantId, charge.sessionId) : '';
  return engine.tools.execute(
    tool,
    call.input,
    {
      tenantId: charge.tenantId,
      sessionId: charge.sessionId,
      runId: charge.runId ?? callId,
      callId,
      attempt: call.attempt,
      idempotencyKey: call.idempotencyKey,
      workspace,
      signal: hooks.signal,
      onOutput: hooks.onOutput,
      authorize: (wanted) => authorize(engine, charge, callId, wanted),
      ...(hooks.traceparent === undefined ? {} : { traceparent: hooks.traceparent }),
    },
    { timeoutMs: call.timeoutMs },
  );
}

async function authorize(
  engine: CallEngine,
  charge: ChargeContext,
  callId: string,
  wanted: Parameters<Authorize>[0],
): ReturnType<Authorize> {
  const decision = decideForAgent(engine, charge, callId, { action: wanted.action, resource: outsideResource(wanted), context: {} });
  await engine.store.commit({ tenantId: charge.tenantId, decisions: [decision.row] });
  if (decision.record.effect === 'allow') return { allowed: true };
  const error: ErrorInfo = { code: 'policy_denied', message: denialMessage(decision.record), retryable: false };
  return { allowed: false, error };
}

/** What a tool wants to touch, with what policies may read of it: of a host its port and scheme. */
function outsideResource(wanted: Parameters<Authorize>[0]): DecisionRequest['resource'] {
  if (wanted.action === 'secret.use') return { type: 'Secret', id: wanted.resource };
  const { port, scheme } = wanted.context ?? {};
  const attributes = { ...(typeof port === 'number' ? { port } : {}), ...(typeof scheme === 'string' ? { scheme } : {}) };
  return { type: 'Host', id: wanted.resource, attributes };
}

/** What a call used, in the units of the ledger: its cost where it is known, else the most that it may have cost. */
export function toolAmounts(tool: Tool, execution: ToolExecution, grantedWallMs: number): BudgetAmounts {
  return {
    toolCalls: 1,
    costMicroUsd: execution.type === 'ok' ? execution.costMicroUsd : (tool.maxCostMicroUsd ?? 0),
    wallMs: Math.min(Math.ceil(execution.durationMs), grantedWallMs),
  };
}
