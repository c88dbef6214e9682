import type { AssumedCount } from '@nexus-agent/protocol';
import { abortError, type Clock, NexusError, type SecretValues } from '#core';
import type { AttemptMessage, DeltaKind, ModelPart } from '#llm/contract';
import { answerUse, failureUse, overrunUse } from './account.ts';
import { createCleaning } from './cleaning.ts';
import { contextFromRefusal, contextFromUsage } from './context.ts';
import type { Progress, Provider } from './provider.ts';
import { type ReadItem, type Reading, startReading } from './reading.ts';

interface AttemptOptions {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** What no answer may hold. */
  readonly secrets?: SecretValues | undefined;
  /** The answer went on beyond its limit. */
  readonly onOverrun: () => void;
  /** The model takes fewer tokens than its target says. */
  readonly onContext: (contextTokens: number, why: 'refused' | 'cut') => void;
}

type PartResult = IteratorResult<ModelPart, undefined>;
const end: PartResult = { done: true, value: undefined };

/**
 * One attempt at one target, as {@link ModelService.attempt} promises. An iterator written out rather than a generator: a delta
 * that is ready costs one promise, and leaving takes effect while a part is awaited.
 */
export class Attempt implements AsyncIterator<ModelPart, undefined> {
  readonly #provider: Provider | undefined;
  /** As asked, but for a limit that is never above the target's own. */
  readonly #terms: AttemptMessage;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #onOverrun: () => void;
  readonly #onContext: AttemptOptions['onContext'];
  readonly #onAbort = () => this.#reading?.cancel(abortError(this.#signal));
  readonly #cleaning: ReturnType<typeof createCleaning>;
  /** Behind what was held back of the deltas. */
  #last: Extract<ReadItem, { type: 'done' | 'failed' }> | null = null;
  #state: 'new' | 'open' | 'ended' = 'new';
  #reading: Reading | null = null;
  #startedMs = 0;
  #firstDeltaMs: number | null = null;

  /** @param provider undefined: there is none of the target's name */
  constructor(provider: Provider | undefined, message: AttemptMessage, options: AttemptOptions) {
    this.#provider = provider;
    this.#terms = { ...message, maxOutputTokens: Math.min(message.maxOutputTokens, message.target.maxOutputTokens) };
    this.#signal = options.signal;
    this.#clock = options.clock;
    this.#cleaning = createCleaning(options.secrets);
    this.#onOverrun = options.onOverrun;
    this.#onContext = options.onContext;
  }

  next(): Promise<PartResult> {
    if (this.#state === 'ended') return Promise.resolve(end);
    try {
      if (this.#last !== null) return Promise.resolve(this.#take(this.#last));
      const reading = this.#reading ?? this.#begin();
      const item = reading.next();
      return item instanceof Promise ? item.then(this.#take) : Promise.resolve(this.#take(item));
    } catch (error) {
      return Promise.resolve(this.#fail(asNexusError(error)));
    }
  }

  return(): Promise<PartResult> {
    if (this.#state === 'open') this.#reading?.cancel(new NexusError('cancelled', 'the reader left the stream'));
    this.#release();
    return Promise.resolve(end);
  }

  #begin(): Reading {
    this.#state = 'open';
    if (this.#signal.aborted) throw abortError(this.#signal);
    const { target, request, maxOutputTokens, timeoutMs, traceparent, tenantId } = this.#terms;
    if (this.#provider === undefined) throw new NexusError('model_not_found', `no provider named ${target.provider} is configured`);
    this.#startedMs = this.#clock.monotonic();
    const call = {
      ...{ model: target.model, request, maxOutputTokens, timeoutMs },
      ...(traceparent === undefined ? {} : { traceparent }),
      ...(tenantId === undefined ? {} : { tenantId }),
    };
    this.#reading = startReading(this.#provider, call, { progress: !target.thinksUnseen });
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
    return this.#reading;
  }

  readonly #take = (item: ReadItem): PartResult | Promise<PartResult> => {
    if (this.#state === 'ended') return end;
    switch (item.type) {
      case 'delta':
        this.#firstDeltaMs ??= this.#clock.monotonic() - this.#startedMs;
        return this.#delta(item.kind, this.#cleaning.delta(item.kind, item.text)) ?? this.next();
      case 'progress':
        return { done: false, value: { type: 'progress', outputTokens: item.tokens } };
      case 'done':
      case 'failed': {
        const rest = this.#cleaning.rest();
        if (rest !== null) {
          this.#last = item;
          return this.#delta(rest.kind, rest.text) ?? this.#take(item);
        }
        return item.type === 'done' ? this.#complete(this.#cleaning.answer(item.answer)) : this.#fail(item.error);
      }
      default:
        return item satisfies never;
    }
  };

  /** Null where all of it is held back. */
  #delta(kind: DeltaKind, text: string): PartResult | null {
    return text === '' ? null : { done: false, value: { type: kind === 'text' ? 'text.delta' : 'reasoning.delta', text } };
  }

  #complete(answer: Extract<ReadItem, { type: 'done' }>['answer']): PartResult {
    const { target, maxOutputTokens } = this.#terms;
    if (answer.finishReason === 'content_filter') {
      return this.#fail(new NexusError('content_filtered', `${target.provider} withheld the answer of ${target.model}`));
    }
    const progress = this.#progress();
    const { usage, assumed } = answer.overran ? overrunUse(this.#terms, progress) : answerUse(this.#terms, progress);
    const overran = answer.overran === true || usage.outputTokens > maxOutputTokens;
    if (overran) this.#onOverrun();
    const contextTokens = this.#provider?.mayCut === true ? contextFromUsage(this.#terms, progress.usage) : undefined;
    if (contextTokens !== undefined) this.#onContext(contextTokens, 'cut');
    const learned = contextTokens === undefined ? {} : { contextTokens };
    const durationMs = Math.round(this.#clock.monotonic() - this.#startedMs);
    const timeToFirstTokenMs = this.#firstDeltaMs === null ? null : Math.round(this.#firstDeltaMs);
    this.#release();
    const found = { ...(overran ? { overran } : {}), ...assumedIn(assumed), ...learned };
    return { done: false, value: { type: 'completed', ...answer, ...found, usage, timeToFirstTokenMs, durationMs } };
  }

  #fail(failure: NexusError): PartResult {
    const progress = this.#progress();
    this.#release();
    const error = failure.toInfo();
    const { usage, assumed } = failureUse(this.#terms, progress, failure);
    if (usage.outputTokens > this.#terms.maxOutputTokens) this.#onOverrun();
    const retryAfterMs = failure.retryAfterMs ?? null;
    const contextTokens = contextFromRefusal(this.#terms, error);
    if (contextTokens !== undefined) this.#onContext(contextTokens, 'refused');
    const learned = contextTokens === undefined ? {} : { contextTokens };
    return { done: false, value: { type: 'failed', error, retryAfterMs, usage, ...assumedIn(assumed), sent: progress.sent, ...learned } };
  }

  #progress() {
    return this.#reading?.progress() ?? nothingSent;
  }

  #release(): void {
    this.#state = 'ended';
    this.#signal.removeEventListener('abort', this.#onAbort);
  }
}

const nothingSent: Progress = {
  sent: false,
  usage: null,
  accounted: false,
  final: false,
  begun: false,
  streamedTokens: 0,
  receivedTokens: 0,
};

function assumedIn(assumed: readonly AssumedCount[]) {
  return assumed.length === 0 ? {} : { assumed };
}

function asNexusError(error: unknown): NexusError {
  return error instanceof NexusError ? error : new NexusError('internal', 'an unexpected error; see the log', { cause: error });
}
