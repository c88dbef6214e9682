import type { WaitReason } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { type CallIds, foldNew, type NextAction, nextAction, type RunLimits, type RunState } from '#runs/journal';
import type { RunPatch } from '#storage';
import { chargeAllOpen, chargeOpen } from './charging.ts';
import type { RunContext } from './context.ts';
import {
  checkAnswer,
  closeOpenWork,
  completedEvents,
  endingPatch,
  faultOfOutputSchema,
  newMessageId,
  type Stop,
  stoppedEvents,
  withEnding,
} from './endings.ts';
import type { Engine } from './engine.ts';
import { planModelCall, planRunAttempt, proposeDeniedModel, proposeModelAttempt, type RunModelAttempt } from './model-plan.ts';
import { assumedEvents, merge, type Proposal, propose } from './proposal.ts';
import { planTool } from './tool-plan.ts';
import { proposeToolStart, type ToolStart } from './tool-start.ts';

/** Work that begins once its announcement is written. */
export type Effect = { readonly type: 'model'; readonly attempt: RunModelAttempt } | { readonly type: 'tool'; readonly start: ToolStart };

export interface Start {
  readonly proposal: Proposal;
  readonly effect: Effect;
}

/** What one turn of a run's loop writes, starts, and whether the run leaves this process with it. */
export interface Round {
  readonly written: readonly Proposal[];
  readonly starts: readonly Start[];
  readonly end: 'ended' | 'waiting' | 'handed_over' | null;
  /** Found while deciding: the run is to stop, though effects are still under way. */
  readonly stop: Stop | null;
}

export interface RoundInput {
  readonly engine: Engine;
  readonly context: RunContext;
  readonly state: RunState;
  readonly limits: RunLimits;
  /** Calls that this process is executing. */
  readonly inFlight: CallIds;
  readonly stop: Stop | null;
  /** Effects are under way that are worth waiting for, although the run is to stop. */
  readonly working: boolean;
  /** Its turn to ask the budget has not come: nothing is started. */
  readonly held: boolean;
  /** It may still wait for what others hold, and takes no less for now. */
  readonly whole: boolean;
}

/** Decides, from the state as it will be after `facts`, what else to write and what to start. Writes and starts nothing. */
export function decideRound(input: RoundInput, facts: readonly Proposal[]): Round {
  const { engine, context, limits } = input;
  const written = [...facts];
  const starts: Start[] = [];
  let draft = foldNew(input.state, assumedEvents(merge(facts)));
  const going = (stop: Stop | null = null): Round => ({ written, starts, end: null, stop });
  if (input.stop !== null) return input.working ? going() : stopRound(input, written, input.stop, draft);

  const busy = new Set(input.inFlight.keys());
  const stopped = (stop: Stop): Round => (input.inFlight.size > 0 ? going(stop) : stopRound(input, written, stop, draft));
  for (;;) {
    const action = nextAction(draft, limits, busy);
    if (input.held && (action.type === 'tools' || action.type === 'model')) return going();
    switch (action.type) {
      case 'tools':
        for (const call of action.calls) {
          const plan = planTool(engine, context, draft, call, busy);
          if (plan.type === 'start' && plan.start.superseded !== null) {
            const paid = chargeOpen(draft, plan.start.superseded);
            written.push(paid);
            draft = foldNew(draft, assumedEvents(paid));
          }
          const proposal = plan.type === 'start' ? proposeToolStart(engine, context, draft, plan.start) : plan.proposal;
          if (plan.type === 'start') {
            busy.add(call.callId);
            starts.push({ proposal, effect: { type: 'tool', start: plan.start } });
          } else written.push(proposal);
          draft = foldNew(draft, assumedEvents(proposal));
        }
        continue;
      case 'model': {
        const attempt = planModel(input, draft, action);
        if (attempt.type === 'impossible') {
          if (attempt.decision !== null) written.push(proposeDeniedModel(attempt.decision, Math.max(1, draft.step)));
          return stopped({ type: 'fail', error: attempt.error, resumable: attempt.error.code !== 'context_overflow' });
        }
        const proposal = proposeModelAttempt(attempt.attempt);
        starts.push({ proposal, effect: { type: 'model', attempt: attempt.attempt } });
        draft = foldNew(draft, assumedEvents(proposal));
        return going();
      }
      case 'finish': {
        const answer = checkAnswer(engine, context, draft, action.text);
        if (answer.type === 'ok') return finishRound(input, written, draft, answer.text, answer.output);
        if (answer.type === 'error') return stopRound(input, written, answer.stop, draft);
        const again = propose({ events: [{ type: 'answer.refused', data: { step: draft.step, message: answer.message } }] });
        written.push(again);
        draft = foldNew(draft, assumedEvents(again));
        continue;
      }
      case 'fail':
        return stopped({ type: 'fail', error: action.error, resumable: action.resumable });
      case 'wait':
        written.push(proposeWaiting(context, action));
        return { ...going(), end: 'waiting' };
      case 'busy':
        return going();
      case 'ended':
        return { ...going(), end: 'ended' };
    }
  }
}

function planModel({ engine, context, whole }: RoundInput, draft: RunState, at: Extract<NextAction, { type: 'model' }>) {
  const fault = faultOfOutputSchema(engine, context);
  if (fault !== null) return { type: 'impossible' as const, error: fault, decision: null };
  const planned = planModelCall(engine, context, draft, at);
  if (planned.type === 'impossible') return planned;
  const target = context.targets[0];
  if (target === undefined) throw new NexusError('model_not_found', `agent ${context.agent.name} has no model`);
  return planRunAttempt(engine, context, planned.call, target, { attempt: planned.call.firstAttempt, whole });
}

/** Whom it waits for, of those who can move it on: who is asked first. */
function waitReason({ approvals, childRuns, clientCalls }: Extract<NextAction, { type: 'wait' }>): WaitReason {
  if (approvals.length > 0) return 'approval';
  if (childRuns.length > 0) return 'child';
  return clientCalls.length > 0 ? 'client' : 'timer';
}

function proposeWaiting(context: RunContext, action: Extract<NextAction, { type: 'wait' }>): Proposal {
  const { approvals, childRuns, clientCalls, until, dueAt } = action;
  const waiting = {
    reason: waitReason(action),
    ...(approvals.length > 0 ? { approvals: [...approvals] } : {}),
    ...(childRuns.length > 0 ? { childRuns: [...childRuns] } : {}),
    ...(clientCalls.length > 0 ? { clientCalls: [...clientCalls] } : {}),
    ...(until === null ? {} : { until }),
  };
  const due = [dueAt, context.deadlineAt].filter((time) => time !== null);
  const patch: RunPatch = { status: 'waiting', waiting, leaseOwner: null, dueAt: due.length === 0 ? null : Math.min(...due) };
  return propose({ events: [{ type: 'run.waiting', data: waiting }], patch, leaves: context.sessionId });
}

function finishRound(input: RoundInput, written: readonly Proposal[], draft: RunState, text: string, output: unknown): Round {
  const messageId = newMessageId(input.engine);
  const { lease, ...others } = endingPatch(input.context);
  const patch: RunPatch = { ...lease, status: 'completed', step: draft.step, output: text };
  const message = { messageId, text, ...(output === undefined ? {} : { output }) };
  const last = merge([...written, ...chargeAllOpen(draft), propose({ ...others, patch })]);
  const ending = withEnding(input.state, last, (end) => ({ events: completedEvents(end, message) }));
  return { written: [ending], starts: [], end: 'ended', stop: null };
}

function stopRound(input: RoundInput, written: readonly Proposal[], why: Stop, draft: RunState): Round {
  if (why.type === 'drain') {
    const patch: RunPatch = { status: 'queued', leaseOwner: null, dueAt: input.engine.clock.now() };
    return { written: [...written, propose({ patch })], starts: [], end: 'handed_over', stop: null };
  }
  const { lease, ...others } = endingPatch(input.context);
  const patch: RunPatch = {
    ...lease,
    status: why.type === 'cancel' ? 'cancelled' : 'failed',
    step: draft.step,
    error: why.type === 'cancel' ? null : why.error,
    resumable: why.type === 'fail' && why.resumable,
  };
  const closing = closeOpenWork(input.context, draft, why.type === 'fail' && why.resumable);
  const last = merge([...written, closing, propose({ ...others, patch })]);
  const ending = withEnding(input.state, last, (end) => ({ events: stoppedEvents(end, why) }));
  return { written: [ending], starts: [], end: 'ended', stop: null };
}
