import type { EffectsClass, NewEvent } from '@nexus-agent/protocol';
import { type ModelAttempt, type ModelCall, modelGrant, planModelAttempt, type RecordedDecision } from '#calls';
import { derivedId } from '#core';
import { estimateInputTokens, type ModelRequest, type ModelTarget } from '#llm';
import { conversation, type RunState } from '#runs/journal';
import { fitSizes, planCompaction, shortenSummary } from './compaction.ts';
import type { RunContext } from './context.ts';
import { type Impossible, impossible, instructionsTooLong, newestTooLong } from './does-not-fit.ts';
import type { Engine } from './engine.ts';
import { keptEffects, splitSummary } from './kept-effects.ts';
import { type Proposal, propose } from './proposal.ts';
import { shortenMessages } from './shorten.ts';

/** A model call of a run that is wanted: what to send, and what it may cost. */
export interface ModelCallPlan extends ModelCall {
  readonly newStep: boolean;
  readonly purpose: 'answer' | 'compaction';
  readonly replacesMessages: number | null;
  /** What a summary has to say beside what its model writes. */
  readonly keptEffects?: string;
  readonly firstAttempt: number;
  /** What it fills of a model's context, by our estimate; what is reserved is a bound. */
  readonly fittedTokens: number;
  /** What the run knows of its models' sizes beyond what they are said to be. */
  readonly contexts?: NonNullable<RunState['contexts']>;
}

export type RunModelAttempt = ModelAttempt<ModelCallPlan>;

export type PlannedCall = { readonly type: 'planned'; readonly call: ModelCallPlan } | Impossible;

/** Builds the next model call of a run: the conversation, or the summary that must come first when it is too long. */
export function planModelCall(
  engine: Engine,
  context: RunContext,
  state: RunState,
  at: { readonly step: number; readonly newStep: boolean },
): PlannedCall {
  const { agent } = context;
  const tools = context.tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema }));
  const fixed = { system: agent.instructions, tools, ...(agent.outputSchema === undefined ? {} : { outputSchema: agent.outputSchema }) };
  const contextTokens = contextToFit(context, state);
  const overheadTokens = Math.ceil(estimateInputTokens({ ...fixed, messages: [] }) * fixedShare);
  const sizes = fitSizes(contextTokens, agent.maxOutputTokens, overheadTokens, engine.settings);
  const { roomTokens } = sizes;
  if (roomTokens < leastRoomTokens) return impossible(instructionsTooLong(context, contextTokens, overheadTokens));

  const all = shortenMessages([...context.before.messages, ...state.messages], {
    resultTokens: Math.floor(roomTokens * resultShare),
    argumentTokens: Math.floor(roomTokens * argumentShare),
  });
  const summary = state.summary ?? context.before.summary;
  const compaction = planCompaction(all, summary, sizes);
  const overflows = state.overflows?.count ?? 0;
  const again = overflows === 0 ? '' : `/${overflows}`; // another body under the same key would be a mistake
  const common = { ...at, timeoutMs: agent.timeoutMs, ...(state.contexts === undefined ? {} : { contexts: state.contexts }) };
  if (compaction.type === 'impossible') return impossible(newestTooLong(context, contextTokens, overheadTokens, all, compaction));
  if (compaction.type === 'summarise') {
    const callId = derivedId<string>('call', `${context.runId}/${at.step}/compaction/${state.compactions}${again}`);
    const request: ModelRequest = { ...compaction.request, idempotencyKey: callId };
    return {
      type: 'planned',
      call: {
        ...common,
        callId,
        purpose: 'compaction',
        replacesMessages: compaction.replaces,
        keptEffects: keptEffects(
          compaction.messages,
          splitSummary(summary?.text ?? '').kept,
          (name) => effectsOf(context, name),
          sizes.keptTokens,
        ),
        firstAttempt: nextAttempt(state, callId),
        request,
        fittedTokens: estimateInputTokens(request),
      },
    };
  }

  const shown = summary === null ? null : { ...summary, text: shortenSummary(summary.text, compaction.summaryTokens) };
  const { messages } = conversation({ messages: all, summary: shown }, { messages: [], summary: null });
  const callId = derivedId<string>('call', `${context.runId}/${at.step}/answer${again}`);
  return {
    type: 'planned',
    call: {
      ...common,
      callId,
      purpose: 'answer',
      replacesMessages: null,
      firstAttempt: nextAttempt(state, callId),
      request: {
        ...fixed,
        messages,
        maxOutputTokens: agent.maxOutputTokens,
        idempotencyKey: callId,
        ...(agent.temperature === undefined ? {} : { temperature: agent.temperature }),
      },
      fittedTokens: overheadTokens + estimateInputTokens({ system: '', tools: [], messages }),
    },
  };
}

/** Part of the estimate that instructions and tools fill of a model: they are prose and JSON, of which it is about twice the tokens. */
const fixedShare = 0.6;
/** Less than this is no conversation. */
const leastRoomTokens = 64;
/** Parts of the room of a conversation that the results of one step may fill, and the arguments of the calls of one answer. */
const resultShare = 0.45;
const argumentShare = 0.2;

/** How many tokens a target takes, as far as the run knows. */
function sizeFor(target: ModelTarget, contexts: RunState['contexts']): number {
  return Math.min(target.contextTokens, contexts?.[`${target.provider}/${target.model}`] ?? target.contextTokens);
}

/** What the conversation is made to fit: the model that is asked first, and those that turned out in this run to take less. */
function contextToFit({ targets }: RunContext, { contexts }: RunState): number {
  const met = targets.filter(({ provider, model }, index) => index === 0 || contexts?.[`${provider}/${model}`] !== undefined);
  return met.reduce((least, target) => Math.min(least, sizeFor(target, contexts)), Number.POSITIVE_INFINITY);
}

function nextAttempt(state: RunState, callId: string): number {
  return state.model?.callId === callId ? state.model.attempt + 1 : 1;
}

/** Decides and sizes an attempt of a run's call at one of its targets. */
export function planRunAttempt(
  engine: Engine,
  context: RunContext,
  call: ModelCallPlan,
  target: ModelTarget,
  { attempt, whole }: { readonly attempt: number; readonly whole: boolean },
) {
  // An answer is never asked to be longer than what the request leaves of the model: some servers refuse that.
  const left = Math.max(1, sizeFor(target, call.contexts) - call.fittedTokens);
  const request = left < call.request.maxOutputTokens ? { ...call.request, maxOutputTokens: left } : call.request;
  const declared = context.declaredTargets.has(target);
  return planModelAttempt(engine, context.charge, { ...call, request }, target, { attempt, whole, declared });
}

/** How many tokens the target takes, when it is known to take less than this call has: it is not worth an attempt. */
export function tooSmallFor(call: ModelCallPlan, target: ModelTarget): number | null {
  const contextTokens = sizeFor(target, call.contexts);
  return call.fittedTokens > contextTokens ? contextTokens : null;
}

/** Reserves and announces an attempt. `model.started` is its last event: what is streamed is numbered after it. */
export function proposeModelAttempt(attempt: RunModelAttempt): Proposal {
  const { call, target, reserve, decision } = attempt;
  return propose({
    ledger: [reserve],
    decisions: [decision.row],
    patch: { step: call.step },
    events([outcome]) {
      const grant = modelGrant(attempt, outcome);
      const events: NewEvent[] =
        call.newStep && attempt.attempt === call.firstAttempt ? [{ type: 'step.started', data: { step: call.step } }] : [];
      if (outcome?.type === 'reserved') {
        events.push({ type: 'budget.reserved', data: { reservationId: reserve.reservationId, amounts: outcome.amounts } });
      }
      events.push({
        type: 'model.started',
        data: {
          step: call.step,
          callId: call.callId,
          attempt: attempt.attempt,
          purpose: call.purpose,
          provider: target.provider,
          model: target.model,
          maxTokens: grant.maxTokens,
          ...(grant.maxTokens < attempt.askedTokens ? { clamped: true } : {}),
          timeoutMs: grant.wallMs,
          reservationId: reserve.reservationId,
          inputTokens: attempt.inputTokens,
          decision: decision.record,
        },
      });
      return events;
    },
  });
}

/** Journals that policy did not allow a model call. */
export function proposeDeniedModel(decision: RecordedDecision, step: number): Proposal {
  return propose({ decisions: [decision.row], events: [{ type: 'policy.denied', data: { step, decision: decision.record } }] });
}

/** Of one that calls others it is not told which of them it called. */
function effectsOf({ tools }: RunContext, name: string): EffectsClass | undefined {
  const tool = tools.find((candidate) => candidate.name === name);
  return tool?.callsTools ? 'idempotent' : tool?.effects;
}
