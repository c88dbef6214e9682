import type { NewEvent, RunId } from '@nexus-agent/protocol';
import { type RecordedDecision, timeLeft } from '#calls';
import type { LedgerOutcome, ReserveOperation } from '#ledger';
import type { RunState, ToolCallState } from '#runs/journal';
import type { ToolDescriptor } from '#tools';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { merge, type Proposal, propose, settle } from './proposal.ts';

/** A tool call that policy allows and that is about to be reserved and started. */
export interface ToolStart {
  readonly call: ToolCallState;
  readonly tool: ToolDescriptor;
  readonly input: Record<string, unknown>;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly decision: RecordedDecision;
  /** For a sub-agent: that its run may start. */
  readonly childDecision: RecordedDecision | null;
  /** Each attempt may reach the world, and is paid for. */
  readonly reserve: ReserveOperation;
  /** Reservation of an earlier attempt that may have done its work: to be charged before this one asks for more. */
  readonly superseded: string | null;
  readonly childRunId: RunId | null;
}

/** The time that a started call may take: what the budget granted, or the tool's own limit. */
export function grantedWallMs(engine: Engine, context: RunContext, start: ToolStart, outcome: LedgerOutcome | undefined): number {
  const wanted = timeLeft(engine, context.charge, start.tool.timeoutMs);
  return outcome?.type === 'reserved' && outcome.wallMs !== null ? Math.min(outcome.wallMs, wanted) : wanted;
}

/** Reserves and announces an attempt of a tool call. A sub-agent pays for itself, so its call is settled at once. */
export function proposeToolStart(engine: Engine, context: RunContext, state: RunState, start: ToolStart): Proposal {
  const { call, tool, decision, childDecision, reserve } = start;
  const { reservationId } = reserve;
  const reserved = propose({
    ledger: [reserve],
    decisions: childDecision === null ? [decision.row] : [decision.row, childDecision.row],
    events([outcome]) {
      const events: NewEvent[] =
        outcome?.type === 'reserved' ? [{ type: 'budget.reserved', data: { reservationId, amounts: outcome.amounts } }] : [];
      events.push({
        type: 'tool.started',
        data: {
          step: state.step,
          callId: call.callId,
          attempt: start.attempt,
          ...(start.attempt > 1 ? { counted: true as const } : {}),
          name: tool.name,
          effects: tool.effects,
          input: start.input,
          idempotencyKey: start.idempotencyKey,
          timeoutMs: grantedWallMs(engine, context, start, outcome),
          reservationId,
          ...(start.childRunId === null ? {} : { childRunId: start.childRunId }),
          decision: decision.record,
        },
      });
      return events;
    },
  });
  if (start.childRunId !== null) return merge([reserved, settle(reservationId, { toolCalls: 1 })]);
  return reserved;
}
