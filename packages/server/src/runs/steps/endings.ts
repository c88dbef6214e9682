import { type BudgetRefusal, type ErrorInfo, isTerminal, type MessageId, type NewEvent } from '@nexus-agent/protocol';
import { refusalError, withWait } from '#calls';
import { isBlank, isTooDeep, type JsonSchema, NexusError, type SchemaIssue, toErrorInfo } from '#core';
import { foldNew, type RunState, stateHash } from '#runs/journal';
import { chargeAllOpen } from './charging.ts';
import { awaitsClient, clientResultId } from './client-calls.ts';
import type { RunContext } from './context.ts';
import type { Engine } from './engine.ts';
import { merge, type Proposal, propose } from './proposal.ts';

/** Why a run stops before its answer. `drain`: this process shuts down and another one is to go on. */
export type Stop =
  | { readonly type: 'cancel'; readonly reason: string }
  | {
      readonly type: 'fail';
      readonly error: ErrorInfo;
      readonly resumable: boolean;
      readonly refusal?: { readonly purpose: 'model' | 'tool'; readonly refusal: BudgetRefusal };
    }
  | { readonly type: 'drain' };

/** @param waitedMs so long it waited for what others held; 0 when it did not */
export function budgetStop(refused: BudgetRefusal, purpose: 'model' | 'tool', waitedMs: number): Extract<Stop, { type: 'fail' }> {
  const refusal = withWait(refused, waitedMs);
  return { type: 'fail', resumable: true, error: refusalError(refusal, purpose), refusal: { purpose, refusal } };
}

/** The last events of a run follow from its state after everything before them, and carry that state's hash. */
export function withEnding(state: RunState, before: Proposal, end: (last: RunState) => { readonly events: readonly NewEvent[] }): Proposal {
  return {
    ...before,
    events(outcomes) {
      const events = before.events(outcomes);
      return [...events, ...end(foldNew(state, events)).events];
    },
  };
}

export function completedEvents(
  last: RunState,
  message: { readonly messageId: MessageId; readonly text: string; readonly output?: unknown },
): readonly NewEvent[] {
  const answer: NewEvent = {
    type: 'message.completed',
    data: {
      messageId: message.messageId,
      role: 'assistant',
      text: message.text,
      finishReason: last.answer?.finishReason ?? 'stop',
      ...(message.output === undefined ? {} : { output: message.output }),
    },
  };
  const stateHashed = stateHash(foldNew(last, [answer]));
  return [answer, { type: 'run.completed', data: { totals: last.totals, stateHash: stateHashed } }];
}

export function stoppedEvents(last: RunState, stop: Exclude<Stop, { type: 'drain' }>): readonly NewEvent[] {
  if (isTerminal(last.status)) return [];
  if (stop.type === 'cancel')
    return [{ type: 'run.cancelled', data: { reason: stop.reason, totals: last.totals, stateHash: stateHash(last) } }];
  const refused: NewEvent[] =
    stop.refusal === undefined
      ? []
      : [{ type: 'budget.refused', data: { step: Math.max(1, last.step), purpose: stop.refusal.purpose, refusal: stop.refusal.refusal } }];
  return [
    ...refused,
    {
      type: 'run.failed',
      data: { error: stop.error, totals: last.totals, resumable: stop.resumable, stateHash: stateHash(foldNew(last, refused)) },
    },
  ];
}

/** What is left open when a run stops: reservations of calls that did not report back are charged, questions are withdrawn unless the run may go on. */
export function closeOpenWork({ runId }: Pick<RunContext, 'runId'>, state: RunState, keepQuestions: boolean): Proposal {
  const charges = chargeAllOpen(state);
  if (keepQuestions) return merge([propose({}), ...charges]);
  const approvals = state.calls.flatMap((call) => {
    if (call.phase.type === 'awaiting') return [{ approvalId: call.phase.approvalId, status: 'cancelled' as const }];
    return awaitsClient(call) ? [{ approvalId: clientResultId(runId, call.callId), status: 'cancelled' as const }] : [];
  });
  return merge([propose({ closeApprovals: approvals }), ...charges]);
}

/** Ends the lease together with the run, makes a parent that waits for it due, and leaves the session to others. */
export function endingPatch(
  context: RunContext,
): Pick<Proposal, 'wake' | 'leaves'> & { readonly lease: { readonly leaseOwner: null; readonly dueAt: null; readonly waiting: null } } {
  const wake = context.parent === null ? [] : [context.parent.runId];
  return { wake, leaves: context.sessionId, lease: { leaseOwner: null, dueAt: null, waiting: null } };
}

export type FinalAnswer =
  /** `text` is what the run gives: without what stands around a value that fits the schema. */
  | { readonly type: 'ok'; readonly text: string; readonly output?: unknown }
  /** Asked for again, in these words. */
  | { readonly type: 'again'; readonly message: string }
  | { readonly type: 'error'; readonly stop: Stop };

/**
 * Whether an answer may end the run: whole, and fit for the agent's output schema. One that is not is asked for again, so
 * often as the settings and the steps of the agent allow; then it is an error. A run that did something may end in silence.
 */
export function checkAnswer(engine: Engine, context: RunContext, state: RunState, text: string): FinalAnswer {
  const { outputSchema, maxSteps } = context.agent;
  const mayAsk = (state.refused?.count ?? 0) < engine.settings.maxRepairs && state.step < maxSteps;
  if (state.answer?.finishReason === 'length' && state.answer.clamped) {
    const message = `the answer was cut after ${state.answer.maxTokens} tokens, which is all that the budget affords`;
    return {
      type: 'error',
      stop: {
        type: 'fail',
        resumable: true,
        error: { code: 'budget_exceeded', message, retryable: false, details: { unit: 'tokens', granted: state.answer.maxTokens } },
      },
    };
  }
  const isSilent = isBlank(text);
  const isCut = state.answer?.finishReason === 'length';
  if (isSilent && outputSchema === undefined && state.signatures.length > 0 && !isCut) return { type: 'ok', text };
  if (isSilent) {
    const message = isCut
      ? `the model used all of the ${state.answer?.maxTokens} tokens that it had and did not come to an answer; a larger maxOutputTokens of the agent gives it more`
      : 'the model ended its turn without an answer';
    if (mayAsk && isCut)
      return { type: 'again', message: 'You used all of your tokens before you came to an answer. Give a short answer now.' };
    if (mayAsk) return { type: 'again', message: 'You ended your turn without an answer. Give your answer now.' };
    return { type: 'error', stop: { type: 'fail', resumable: true, error: { code: 'provider_malformed', message, retryable: true } } };
  }
  if (outputSchema === undefined) return { type: 'ok', text };
  const found = jsonIn(text);
  if (found === null) return invalid('the answer is not JSON', mayAsk);
  const { output } = found;
  const issues = issuesOf(engine, outputSchema, output);
  if ('code' in issues) return { type: 'error', stop: { type: 'fail', resumable: true, error: issues } };
  if (issues.length === 0) return { type: 'ok', ...found };
  const list = issues.map((issue) => `${issue.path}: expected ${issue.expected}, got ${issue.actual}`).join('; ');
  return invalid(`the answer does not fit the output schema: ${list}`, mayAsk);
}

/** What does not fit, or why that cannot be told: an agent that an earlier version stored may have a schema that is refused today. */
function issuesOf(engine: Engine, schema: JsonSchema, output: unknown): readonly SchemaIssue[] | ErrorInfo {
  try {
    return engine.schemas.check(schema, output);
  } catch (error) {
    engine.logger.warn({ err: error }, 'an answer could not be checked against the output schema of its agent');
    if (error instanceof NexusError) return toErrorInfo(error);
    return { code: 'output_invalid', message: 'the answer could not be checked against the output schema of the agent', retryable: false };
  }
}

/** Why no answer could be held against the output schema of the agent: one that was stored when more was taken. */
export function faultOfOutputSchema(engine: Engine, { agent, agentVersion }: Pick<RunContext, 'agent' | 'agentVersion'>): ErrorInfo | null {
  if (agent.outputSchema === undefined) return null;
  try {
    engine.schemas.check(agent.outputSchema, null);
    return null;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `the outputSchema of agent ${agent.name} (${agentVersion}) cannot be used: ${why}; store the agent again and start another run`;
    return { code: 'invalid_request', message, retryable: false };
  }
}

/**
 * The one JSON value that an answer gives, with the text of it. Models put a code fence around it, or think aloud before it, on servers
 * that do not hold them to the format. Prose with several fences says nothing for certain.
 */
function jsonIn(text: string): { readonly text: string; readonly output: unknown } | null {
  const said = text.replace(/^\uFEFF?\s*<think>[\s\S]*?<\/think>/, '').replace(/^\uFEFF/, '');
  const fences = said.split(/^[ \t]*```.*$/m);
  const candidates = [said, ...(fences.length === 3 ? [fences[1] ?? ''] : [])].map((candidate) => candidate.trim());
  for (const candidate of candidates) {
    if (isTooDeep(candidate)) continue;
    try {
      return { text: candidate, output: JSON.parse(candidate) };
    } catch {
      // the next one, or none
    }
  }
  return null;
}

/** Most characters of what is wrong that the model is told. */
const maxIssueChars = 2_000;

function invalid(message: string, mayAsk: boolean): FinalAnswer {
  if (mayAsk) {
    const wrong = message.slice(0, maxIssueChars).toWellFormed();
    return {
      type: 'again',
      message: `Your answer cannot be used: ${wrong}. Answer again with nothing but the JSON value that fits the output schema.`,
    };
  }
  return { type: 'error', stop: { type: 'fail', resumable: true, error: { code: 'output_invalid', message, retryable: false } } };
}

export function newMessageId(engine: Engine): MessageId {
  return engine.ids.next<MessageId>('message');
}
