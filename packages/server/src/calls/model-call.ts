import { type AssistantPart, type AssumedCount, type ErrorInfo, noUsage, type Usage } from '@nexus-agent/protocol';
import { toErrorInfo } from '#core';
import { type AttemptFailure, isSameTarget, type ModelPart, type ModelTarget } from '#llm';
import { AttemptBound, type BoundRecord } from './attempt-bound.ts';
import type { CallEngine } from './engine.ts';
import type { ModelAttempt, ModelCall, ModelGrant } from './model-attempt.ts';

/** An attempt that may begin: decided, reserved, and written down. */
export interface GrantedAttempt<Call extends ModelCall = ModelCall> {
  readonly attempt: ModelAttempt<Call>;
  readonly grant: ModelGrant;
}

/** An attempt that was granted and ended without an answer. */
export interface FailedAttempt<Call extends ModelCall = ModelCall> extends GrantedAttempt<Call> {
  readonly error: ErrorInfo;
  readonly usage: Usage;
  /** Counts of it that the provider did not give. */
  readonly assumed?: readonly AssumedCount[];
  /** The request reached the wire; otherwise nothing was used. */
  readonly sent: boolean;
  /** Of a request that was too long: what the model takes, as is known now. */
  readonly contextTokens?: number;
  /** What was streamed. */
  readonly content: readonly AssistantPart[];
  readonly durationMs: number;
}

/** How a call ended. `failures` are those that {@link ModelCallHooks.nextAttempt} was not told of: they are still to be settled. */
export type ModelOutcome<Call extends ModelCall = ModelCall> =
  | (GrantedAttempt<Call> & {
      readonly type: 'completed';
      readonly part: Extract<ModelPart, { type: 'completed' }>;
      readonly failures: readonly FailedAttempt<Call>[];
    })
  /** When the last try was refused, `error` is the refusal: it says more than the failure before it. */
  | { readonly type: 'failed'; readonly failures: readonly FailedAttempt<Call>[]; readonly error: ErrorInfo };

/** Another attempt that is wanted: a retry, or a fallback to another target. */
export interface AttemptWish<Call extends ModelCall = ModelCall> {
  readonly target: ModelTarget;
  readonly attempt: number;
  /** Since the last wish; whoever answers it settles them. */
  readonly failures: readonly FailedAttempt<Call>[];
  /** The last attempt that began. */
  readonly previous: { readonly target: ModelTarget; readonly error: ErrorInfo };
}

export type AttemptAnswer<Granted> =
  | { readonly type: 'granted'; readonly granted: Granted }
  /** Passes the target over, or ends the call when it is `final`. */
  | { readonly type: 'refused'; readonly error: ErrorInfo; readonly final: boolean };

export interface ModelCallHooks<Call extends ModelCall, Granted extends GrantedAttempt<Call>> {
  /** Ends the request that is under way, and the wait for the next one, at once. */
  readonly signal: AbortSignal;
  /** W3C traceparent for the requests. */
  readonly traceparent?: string | undefined;
  /** Settles the failures so far; decides, reserves and writes down another attempt. A rejection ends the call with its error. */
  readonly nextAttempt: (wish: AttemptWish<Call>) => Promise<AttemptAnswer<Granted>>;
  readonly onBegin: (granted: Granted) => void;
  readonly onDelta: (kind: 'text' | 'reasoning', text: string) => void;
  /** Where it is kept on record how much an attempt can have used, so that a kill costs no more than that. */
  readonly bound?: BoundRecord;
}

/**
 * Makes one model call whose first attempt is granted: attempts, and what the model service advises after each, until one
 * answers or none is left. Every further attempt is granted by {@link ModelCallHooks.nextAttempt} first. Never rejects for a
 * provider's failure.
 *
 * @param targets what may answer, in order of preference; the first attempt's own goes before them
 */
export async function callModel<Call extends ModelCall, Granted extends GrantedAttempt<Call>>(
  engine: Pick<CallEngine, 'llm' | 'clock' | 'timers' | 'inputCounts'>,
  targets: readonly ModelTarget[],
  first: Granted,
  hooks: ModelCallHooks<Call, Granted>,
): Promise<ModelOutcome<Call>> {
  const order = [first.attempt.target, ...targets.filter((target) => !isSameTarget(target, first.attempt.target))];
  const tried: AttemptFailure[] = [];
  let current = first;
  /** Those that nobody was told of yet. */
  const untold: Untold<Call> = { failures: [] };
  for (;;) {
    const made = await makeAttempt(engine, current, hooks);
    if (made.type === 'completed') return { ...made, failures: untold.failures };
    untold.failures.push(made.failure);
    const { target } = current.attempt;
    const { error } = made.failure;
    tried.push({ target, error, retryAfterMs: made.retryAfterMs, refused: false });
    const end: ModelOutcome<Call> = { type: 'failed', failures: untold.failures, error };
    if (hooks.signal.aborted) return end;
    try {
      const next = await findNext(engine, order, { first, tried, made, untold, previous: { target, error } }, hooks);
      if (next === null) return end;
      if (next.type === 'refused') return { type: 'failed', failures: untold.failures, error: next.error };
      current = next.granted;
    } catch (thrown) {
      // The wait was cut short, or the next attempt could not be asked for.
      return { type: 'failed', failures: untold.failures, error: toErrorInfo(thrown) };
    }
  }
}

interface Tries<Call extends ModelCall> {
  readonly first: GrantedAttempt<Call>;
  /** Grows by the targets that are refused. */
  readonly tried: AttemptFailure[];
  readonly made: Extract<MadeAttempt<Call>, { type: 'failed' }>;
  readonly untold: Untold<Call>;
  readonly previous: AttemptWish<Call>['previous'];
}

/** Emptied as soon as somebody answered for the failures: they are settled then, whatever happens next. */
interface Untold<Call extends ModelCall> {
  failures: FailedAttempt<Call>[];
}

/** The next attempt that is granted, or the refusal that ends the call; null when no other attempt is worth making. */
async function findNext<Call extends ModelCall, Granted extends GrantedAttempt<Call>>(
  { llm, timers }: Pick<CallEngine, 'llm' | 'timers'>,
  targets: readonly ModelTarget[],
  { first, tried, made, untold, previous }: Tries<Call>,
  { signal, nextAttempt }: ModelCallHooks<Call, Granted>,
): Promise<AttemptAnswer<Granted> | null> {
  const { remainingMs, sawText } = made;
  let refused: AttemptAnswer<Granted> | null = null;
  for (;;) {
    const advice = await llm.next({ targets, failures: tried, remainingMs, sawText });
    if (advice.type === 'none') return refused;
    // What comes back may be a copy; policy and journal know the target by its object.
    const target = targets.find((known) => isSameTarget(known, advice.target)) ?? advice.target;
    if (advice.delayMs > 0) await timers.sleep(advice.delayMs, signal);
    const { failures } = untold;
    const answer = await nextAttempt({ previous, target, attempt: first.attempt.attempt + tried.length, failures });
    untold.failures = [];
    if (answer.type === 'granted' || answer.final) return answer;
    tried.push({ target, error: answer.error, retryAfterMs: null, refused: true });
    refused = answer;
  }
}

type FailedPart = Extract<ModelPart, { type: 'failed' }>;

type MadeAttempt<Call extends ModelCall> =
  | (GrantedAttempt<Call> & { readonly type: 'completed'; readonly part: Extract<ModelPart, { type: 'completed' }> })
  | {
      readonly type: 'failed';
      readonly failure: FailedAttempt<Call>;
      readonly retryAfterMs: number | null;
      readonly remainingMs: number;
      readonly sawText: boolean;
    };

async function makeAttempt<Call extends ModelCall, Granted extends GrantedAttempt<Call>>(
  { llm, clock, timers, inputCounts }: Pick<CallEngine, 'llm' | 'clock' | 'timers' | 'inputCounts'>,
  granted: Granted,
  hooks: ModelCallHooks<Call, Granted>,
): Promise<MadeAttempt<Call>> {
  const { attempt, grant } = granted;
  const { signal, traceparent } = hooks;
  const startedMs = clock.monotonic();
  const content: (AssistantPart & { type: 'text' | 'reasoning' })[] = [];
  // The call is stopped a little before what was reserved, so that stopping it stays within the reservation.
  const timeoutMs = Math.max(1, grant.wallMs - Math.min(50, Math.floor(grant.wallMs / 10)));

  function fail({ error, usage, assumed, sent, retryAfterMs, contextTokens }: Omit<FailedPart, 'type'>): MadeAttempt<Call> {
    const durationMs = clock.monotonic() - startedMs;
    const found = { ...(assumed === undefined ? {} : { assumed }), ...(contextTokens === undefined ? {} : { contextTokens }) };
    const failure = { attempt, grant, error, usage, sent, ...found, content, durationMs };
    return { type: 'failed', failure, retryAfterMs, remainingMs: timeoutMs - durationMs, sawText: content.length > 0 };
  }

  const { bound: record } = hooks;
  const bound = record === undefined ? null : new AttemptBound({ attempt, grant, record, clock, timers, signal });
  hooks.onBegin(granted);
  const message = {
    tenantId: attempt.tenantId,
    target: attempt.target,
    request: attempt.call.request,
    inputTokens: attempt.inputTokens,
    maxOutputTokens: grant.maxTokens,
    timeoutMs,
    ...(traceparent === undefined ? {} : { traceparent }),
  };
  for await (const part of llm.attempt(message, { signal })) {
    switch (part.type) {
      case 'text.delta':
      case 'reasoning.delta': {
        const kind = part.type === 'text.delta' ? 'text' : 'reasoning';
        hooks.onDelta(kind, part.text);
        const last = content.at(-1);
        if (last?.type === kind) last.text += part.text;
        else content.push({ type: kind, text: part.text });
        break;
      }
      case 'progress': {
        const goes = bound?.came(part.outputTokens) ?? true;
        if (bound === null || goes === true || (await goes)) break;
        const usage = { ...noUsage, inputTokens: attempt.inputTokens, outputTokens: bound.limit };
        const error: ErrorInfo = { code: 'lease_lost', message: 'what was reserved for the call was closed', retryable: false };
        return fail({ error, usage, assumed: ['inputTokens', 'outputTokens'], sent: true, retryAfterMs: null });
      }
      case 'completed':
        bound?.end();
        // A bound teaches nothing.
        if (part.assumed?.includes('inputTokens') !== true)
          inputCounts.learn({ tenantId: attempt.tenantId, target: attempt.target, request: attempt.call.request }, part.usage.inputTokens);
        return { type: 'completed', attempt, grant, part };
      case 'failed':
        bound?.end();
        return fail(part);
      default:
        part satisfies never;
    }
  }
  const error: ErrorInfo = { code: 'internal', message: 'the attempt ended without saying how', retryable: false };
  return fail({ error, usage: noUsage, sent: true, retryAfterMs: null });
}
