import type { NewEvent, RunId } from '@nexus-agent/protocol';
import { type RecordedDecision, timeLeft } from '#calls';
import type { LedgerOutcome, ReserveOperation } from '#ledger';
import type { RunState, SuspensionState, ToolCallState } from '#runs/journal';
import { askHuman, type ToolDescriptor } from '#tools';
import { awaitedResult } from './client-calls.ts';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { formTool } from './form-tool.ts';
import { merge, type Proposal, propose, settle } from './proposal.ts';
import { subagentOf } from './subagents.ts';

/** A tool call that policy allows and that is about to be reserved and started. */
export interface ToolStart {
  readonly call: ToolCallState;
  readonly tool: ToolDescriptor;
  readonly input: Record<string, unknown>;
  readonly attempt: number;
  readonly idempotencyKey: string;
  /** Where it goes on; null: at its beginning. */
  readonly resume: SuspensionState | null;
  readonly decision: RecordedDecision;
  /** For a sub-agent: that its run may start. */
  readonly childDecision: RecordedDecision | null;
  /** Each attempt may reach the world, and is paid for. */
  readonly reserve: ReserveOperation;
  /** Reservation of an earlier attempt that may have done its work: to be charged before this one asks for more. */
  readonly superseded: string | null;
  readonly childRunId: RunId | null;
  /** Of a call that only waits: when it ends. */
  readonly until: string | null;
}

/** An attempt that is under way, wherever it began. */
export type BegunTool = Pick<ToolStart, 'call' | 'tool' | 'input' | 'attempt' | 'idempotencyKey' | 'resume'> & {
  readonly reserve: Pick<ReserveOperation, 'reservationId'>;
  /** Null: it was recorded as the attempt began. */
  readonly decision: RecordedDecision | null;
};

/** The time that a started call may take: what the budget granted, or the tool's own limit. */
export function grantedWallMs(engine: Engine, context: RunContext, start: ToolStart, outcome: LedgerOutcome | undefined): number {
  const wanted = timeLeft(engine, context.charge, start.tool.timeoutMs);
  return outcome?.type === 'reserved' && outcome.wallMs !== null ? Math.min(outcome.wallMs, wanted) : wanted;
}

/** Reserves and announces an attempt of a tool call. A sub-agent pays for itself, and a wait or what a client does costs nothing more, so those are settled at once. */
export function proposeToolStart(engine: Engine, context: RunContext, state: RunState, start: ToolStart): Proposal {
  const { call, tool, decision, childDecision, reserve } = start;
  const { reservationId } = reserve;
  const reserved = propose({
    ledger: [reserve],
    approvals:
      tool.kind !== 'client' || start.until === null
        ? []
        : [awaitedResult(engine, context, { callId: call.callId, toolName: tool.name, until: start.until })],
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
          ...(start.attempt > 1 && start.resume === null ? { counted: true as const } : {}),
          ...(start.resume === null ? {} : { resumes: start.resume.count }),
          name: tool.name,
          effects: tool.effects,
          // It may be long, and is in the journal already.
          input: start.resume === null ? start.input : null,
          idempotencyKey: start.idempotencyKey,
          timeoutMs: grantedWallMs(engine, context, start, outcome),
          reservationId,
          ...(start.childRunId === null ? {} : { childRunId: start.childRunId }),
          ...(start.until === null ? {} : { until: start.until }),
          ...(tool.kind === 'client' ? { awaits: 'client' as const } : {}),
          decision: decision.record,
        },
      });
      return events;
    },
  });
  if (start.childRunId !== null || start.until !== null) return merge([reserved, settle(reservationId, { toolCalls: 1 })]);
  return reserved;
}

/** What code can call: whatever cannot call others itself, and does not outlast what the call is kept for. */
function mayBeNested({ callsTools, kind }: ToolDescriptor): boolean {
  return callsTools !== true && kind !== 'timer';
}

/** What a call of a tool may have called in the midst of it. */
export function calledBy({ tools }: Pick<RunContext, 'tools'>, parent: ToolDescriptor | undefined): readonly ToolDescriptor[] {
  if (parent?.callsTools === true) return tools.filter(mayBeNested);
  const asks = parent?.asks ?? [];
  return asks.flatMap((name) => (name === askHuman ? [formTool] : tools.filter((tool) => tool.name === name && subagentOf(name) !== null)));
}

/** Beyond the time in which people must answer: until a run that failed is resumed, or another agent is done. */
const keptLongerMs = 3 * 86_400_000;

/** What a tool that calls others is told of them; nothing for any other tool. */
export function callingOf(context: RunContext, tool: ToolDescriptor) {
  if (tool.callsTools !== true && tool.asks === undefined) return {};
  const offered = calledBy(context, tool).map(({ name }) => name);
  return { calling: { offered, waitMs: context.agent.approvalTimeoutMs + keptLongerMs } };
}
