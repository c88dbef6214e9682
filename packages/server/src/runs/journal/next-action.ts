import { type ErrorInfo, isTerminal } from '@nexus-agent/protocol';
import type { RunState, ToolCallState } from './state.ts';

export interface RunLimits {
  readonly maxSteps: number;
  readonly maxParallelTools: number;
  /** So many equal steps in a row (same calls, same results) are a loop. */
  readonly maxEqualSteps: number;
}

/** For whoever only asks what could come next: replay and fork. */
export const noLimits: RunLimits = {
  maxSteps: Number.POSITIVE_INFINITY,
  maxParallelTools: Number.POSITIVE_INFINITY,
  maxEqualSteps: Number.POSITIVE_INFINITY,
};

/** What is to be done next. A pure function of the state: whoever holds the run decides the same. */
export type NextAction =
  /** Ask the model. A new step begins unless the current one has no answer yet. */
  | { readonly type: 'model'; readonly step: number; readonly newStep: boolean }
  /** Decide and start these calls; others may be running. */
  | { readonly type: 'tools'; readonly calls: readonly ToolCallState[] }
  /** Only people, sub-agents, clients or time can move the run on. `until`: when the first of its waits is over. */
  | {
      readonly type: 'wait';
      readonly approvals: readonly string[];
      readonly childRuns: readonly string[];
      readonly clientCalls: readonly string[];
      readonly until: string | null;
      readonly dueAt: number | null;
    }
  | { readonly type: 'finish'; readonly text: string }
  | { readonly type: 'fail'; readonly error: ErrorInfo; readonly resumable: boolean }
  /** Calls are in flight and nothing else can be started. */
  | { readonly type: 'busy' }
  | { readonly type: 'ended' };

/** Ids of calls: a set of them, or a map by them. */
export interface CallIds {
  readonly size: number;
  has(callId: string): boolean;
  keys(): Iterable<string>;
}

/** @param inFlight ids of the calls that this process is executing now; a started call that is not among them is lost or a sub-agent's. */
export function nextAction(state: RunState, limits: RunLimits, inFlight: CallIds): NextAction {
  if (isTerminal(state.status)) return { type: 'ended' };
  // Between two attempts of a call the state says failed while the call goes on.
  if (state.model !== null && (state.model.phase === 'started' || inFlight.has(state.model.callId))) return { type: 'busy' };
  const open = state.calls.filter((call) => call.phase.type !== 'completed');
  if (open.length > 0) return nextOfTools(open, limits, inFlight);
  if (state.answer === null && state.refused?.isOpen === true) return { type: 'model', step: state.step + 1, newStep: true };
  if (state.answer === null) return { type: 'model', step: Math.max(state.step, 1), newStep: state.step === 0 };
  if (state.calls.length > 0) return afterTools(state, limits);
  return { type: 'finish', text: state.answer.content.map((part) => (part.type === 'text' ? part.text : '')).join('') };
}

function nextOfTools(open: readonly ToolCallState[], limits: RunLimits, inFlight: CallIds): NextAction {
  const room = limits.maxParallelTools - open.filter((call) => inFlight.has(call.callId) || isChild(call)).length;
  const startable = open.filter((call) => isStartable(call) || mayGoOn(call, open));
  if (startable.length > 0 && room > 0) return { type: 'tools', calls: startable.slice(0, room) };
  const approvals: string[] = [];
  const childRuns: string[] = [];
  const clientCalls: string[] = [];
  let dueAt: number | null = null;
  let until: string | null = null;
  for (const call of open) {
    if (inFlight.has(call.callId)) return { type: 'busy' };
    if (call.phase.type === 'awaiting') {
      approvals.push(call.phase.approvalId);
      const deadline = Date.parse(call.phase.deadlineAt);
      dueAt = dueAt === null ? deadline : Math.min(dueAt, deadline);
    } else if (call.phase.type === 'asleep') {
      const ends = Date.parse(call.phase.until);
      if (call.phase.awaits === 'client') clientCalls.push(call.callId);
      else if (until === null || ends < Date.parse(until)) until = call.phase.until;
      dueAt = dueAt === null ? ends : Math.min(dueAt, ends);
    } else if (isChild(call)) {
      childRuns.push(call.attempt.childRunId);
    } else if (!isStartable(call) && call.phase.type !== 'suspended') {
      return { type: 'busy' };
    }
  }
  if (approvals.length + childRuns.length + clientCalls.length === 0 && until === null) return { type: 'busy' };
  return { type: 'wait', approvals, childRuns, clientCalls, until, dueAt };
}

function isStartable(call: ToolCallState): boolean {
  return call.phase.type === 'requested' || call.phase.type === 'decided';
}

/** All that it waited for has ended. */
function mayGoOn({ callId, phase }: ToolCallState, open: readonly ToolCallState[]): boolean {
  return phase.type === 'suspended' && !open.some(({ parentCallId }) => parentCallId === callId);
}

/** A sub-agent at work: it counts as a running call, whichever process drives it. */
function isChild(call: ToolCallState): call is ToolCallState & { readonly attempt: { readonly childRunId: string } } {
  return call.phase.type === 'started' && call.attempt !== null && call.attempt.childRunId !== null;
}

function afterTools(state: RunState, limits: RunLimits): NextAction {
  const recent = state.signatures.slice(-limits.maxEqualSteps);
  if (recent.length === limits.maxEqualSteps && recent.every((signature) => signature === recent[0])) {
    const names = [...new Set(state.calls.map((call) => call.name))].join(', ');
    return {
      type: 'fail',
      resumable: false,
      error: {
        code: 'loop_detected',
        message: `the last ${limits.maxEqualSteps} steps called ${names} with the same arguments and got the same results`,
        retryable: false,
      },
    };
  }
  if (state.step >= limits.maxSteps) {
    return {
      type: 'fail',
      resumable: false,
      error: {
        code: 'step_limit_exceeded',
        message: `the run used all of its ${limits.maxSteps} steps without an answer`,
        retryable: false,
        details: { maxSteps: limits.maxSteps },
      },
    };
  }
  return { type: 'model', step: state.step + 1, newStep: true };
}
