import { type ApprovalKind, isTerminal, type JournalData, type NewEvent, type RunId, type SessionReading } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { CallIds, RunState, ToolCallState } from '#runs/journal';
import type { ApprovalRow } from '#storage';
import { chargeOpen } from './charging.ts';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { merge, type Proposal, propose } from './proposal.ts';
import { proposeQuestion } from './questions.ts';
import { rejoinedTools } from './rejoining.ts';
import { proposeResult } from './tool-result.ts';

/** The event with which a worker takes a run up, by what its journal says of the time before; `reading` where it has none yet. */
export function resumedEvent(state: RunState, workerId: string, epoch: number, reading: SessionReading | null): NewEvent {
  const read = reading === null ? {} : { reading };
  if (state.status === 'queued') return { type: 'run.started', data: { workerId, epoch, ...read } };
  const reason: JournalData<'run.resumed'>['reason'] =
    state.status === 'failed'
      ? 'budget'
      : state.status === 'waiting'
        ? (state.waitingFor?.reason ?? 'approval')
        : hasLostWork(state)
          ? 'recovered'
          : 'handover';
  return { type: 'run.resumed', data: { reason, workerId, epoch, ...read } };
}

function hasLostWork(state: RunState): boolean {
  return state.model?.phase === 'started' || state.calls.some(isLost);
}

function isLost(call: ToolCallState): boolean {
  return call.phase.type === 'started' && call.attempt !== null && call.attempt.childRunId === null;
}

/**
 * What is known of the calls that were in flight when the last worker was lost. A model attempt may have been billed:
 * it is charged for what it can have used and made again. A tool call whose effects allow it starts again under the same
 * idempotency key, as another call that is paid for. One that may not be repeated is put to a person. Those that go on without the
 * worker are left as they are.
 */
export function proposeRecovery(engine: Engine, context: RunContext, state: RunState): Proposal {
  const proposals: Proposal[] = [];
  const { model } = state;
  if (model?.phase === 'started') {
    proposals.push(
      propose({
        events: [
          {
            type: 'step.restarted',
            data: {
              step: Math.max(1, state.step),
              callId: model.callId,
              kind: 'model',
              attempt: model.attempt,
              reason: 'the worker was lost while the model answered',
            },
          },
        ],
      }),
      chargeOpen(state, model.reservationId),
    );
  }
  const goesOn = new Set(rejoinedTools(context, state).map(({ begun }) => begun.call.callId));
  for (const call of state.calls.filter((each) => isLost(each) && !goesOn.has(each.callId))) {
    if (call.attempt?.effects === 'once') {
      proposals.push(proposeQuestion(engine, context, state, call, 'unknown_outcome', call.attempt.input, null));
      continue;
    }
    proposals.push(
      propose({
        events: [
          {
            type: 'step.restarted',
            data: {
              step: state.step,
              callId: call.callId,
              kind: 'tool',
              attempt: call.attempt?.attempt ?? 1,
              reason: 'the worker was lost while the tool ran',
            },
          },
        ],
      }),
    );
  }
  return merge(proposals);
}

/** Our own errors and those of the language come again with the same work; those of a database may pass. */
export function isUnwritable(error: unknown): boolean {
  return error instanceof NexusError ? !error.retryable : error instanceof RangeError || error instanceof TypeError;
}

/** Answers that people gave, or deadlines that passed, since the run began to wait. */
export async function collectApprovals(engine: Engine, context: RunContext, state: RunState): Promise<Proposal> {
  const awaiting = state.calls.filter((call) => call.phase.type === 'awaiting');
  const rows = await Promise.all(
    awaiting.map((call) => (call.phase.type === 'awaiting' ? engine.store.getApproval(context.tenantId, call.phase.approvalId) : null)),
  );
  const now = engine.clock.now();
  return merge(
    rows.flatMap((row) => {
      if (row === null || row.kind === 'client_result' || (row.status === 'pending' && row.deadlineAt > now)) return [];
      return [decided(state, row, row.kind)];
    }),
  );
}

function decided(state: RunState, row: ApprovalRow, kind: ApprovalKind): Proposal {
  const late = row.decision === null;
  // What was asked about is what runs: after an edit that needed another approval it is no longer what the model asked for.
  const asked = row.kind === 'tool_call' && row.decision === 'approve' ? row.input : undefined;
  const input = row.answer?.arguments ?? asked;
  const data: JournalData<'approval.decided'> = {
    step: state.step,
    callId: row.callId,
    approvalId: row.approvalId,
    kind,
    decision: row.decision ?? row.defaultDecision,
    decidedBy: late ? 'timeout' : (row.decidedBy ?? 'unknown'),
    ...(input === undefined ? {} : { arguments: input }),
    ...(row.answer?.result === undefined ? {} : { result: row.answer.result }),
    ...(row.answer?.note === undefined ? {} : { note: row.answer.note }),
    ...(row.role === null ? {} : { role: row.role }),
  };
  return propose({
    events: [{ type: 'approval.decided', data }],
    closeApprovals: late ? [{ approvalId: row.approvalId, status: 'expired' }] : [],
  });
}

/** Results of sub-agents that have ended. */
export async function collectChildren(engine: Engine, context: RunContext, state: RunState, inFlight: CallIds): Promise<Proposal> {
  const proposals: Proposal[] = [];
  for (const call of state.calls) {
    const childRunId = call.attempt?.childRunId ?? null;
    if (call.phase.type !== 'started' || childRunId === null || inFlight.has(call.callId)) continue;
    const child = await engine.store.getRun(context.tenantId, childRunId as RunId); // written by childRunId()
    if (child === null || !isTerminal(child.status)) continue;
    const tree = await engine.store.getFileTree(context.tenantId, context.filesOf);
    proposals.push(
      proposeResult(
        state,
        call,
        child.status === 'completed'
          ? {
              type: 'ok',
              output: child.output ?? '',
              costMicroUsd: child.totals.costMicroUsd,
              // What the sub-agent has written is in it.
              ...(tree === null ? {} : { files: { of: tree.treeId, version: tree.version } }),
            }
          : { type: 'error', error: child.error ?? { code: 'cancelled', message: 'the sub-agent was cancelled', retryable: false } },
      ),
    );
  }
  return merge(proposals);
}
