import { noUsage } from '@nexus-agent/protocol';
import { abortError, type Clock, NexusError } from '#core';
import type { AttemptMessage, ModelPart } from '#llm/contract';
import { answerUsage, failureUsage } from './account.ts';
import type { Provider } from './provider.ts';
import { type ReadItem, type Reading, startReading } from './reading.ts';

type PartResult = IteratorResult<ModelPart, undefined>;
const end: PartResult = { done: true, value: undefined };

/**
 * One attempt at one target, as {@link ModelService.attempt} promises. An iterator written out rather than a generator: a delta
 * that is ready costs one promise, and leaving takes effect while a part is awaited.
 */
export class Attempt implements AsyncIterator<ModelPart, undefined> {
  readonly #provider: Provider | undefined;
  readonly #message: AttemptMessage;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #onAbort = () => this.#reading?.cancel(abortError(this.#signal));
  #state: 'new' | 'open' | 'ended' = 'new';
  #reading: Reading | null = null;
  #startedMs = 0;
  #firstDeltaMs: number | null = null;

  /** @param provider undefined: there is none of the target's name */
  constructor(provider: Provider | undefined, message: AttemptMessage, options: { readonly signal: AbortSignal; readonly clock: Clock }) {
    this.#provider = provider;
    this.#message = message;
    this.#signal = options.signal;
    this.#clock = options.clock;
  }

  next(): Promise<PartResult> {
    if (this.#state === 'ended') return Promise.resolve(end);
    try {
      const reading = this.#reading ?? this.#begin();
      const item = reading.next();
      return item instanceof Promise ? item.then(this.#take) : Promise.resolve(this.#take(item));
    } catch (error) {
      return Promise.resolve(this.#fail(asNexusError(error)));
    }
  }

  return(): Promise<PartResult> {
    this.#reading?.cancel(new NexusError('cancelled', 'the reader left the stream'));
    this.#release();
    return Promise.resolve(end);
  }

  #begin(): Reading {
    this.#state = 'open';
    if (this.#signal.aborted) throw abortError(this.#signal);
    const { target, request, maxOutputTokens, timeoutMs, traceparent } = this.#message;
    if (this.#provider === undefined) throw new NexusError('model_not_found', `no provider named ${target.provider} is configured`);
    this.#startedMs = this.#clock.monotonic();
    this.#reading = startReading(this.#provider, {
      model: target.model,
      request,
      maxOutputTokens: Math.min(maxOutputTokens, target.maxOutputTokens),
      timeoutMs,
      ...(traceparent === undefined ? {} : { traceparent }),
    });
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
    return this.#reading;
  }

  readonly #take = (item: ReadItem): PartResult => {
    if (this.#state === 'ended') return end;
    switch (item.type) {
      case 'delta':
        this.#firstDeltaMs ??= this.#clock.monotonic() - this.#startedMs;
        return { done: false, value: { type: item.kind === 'text' ? 'text.delta' : 'reasoning.delta', text: item.text } };
      case 'done':
        try {
          return this.#complete(item.answer);
        } catch (error) {
          return this.#fail(asNexusError(error)); // an answer that could not be counted was sent all the same
        }
      case 'failed':
        return this.#fail(item.error);
      default:
        return item satisfies never;
    }
  };

  #complete(answer: Extract<ReadItem, { type: 'done' }>['answer']): PartResult {
    const { target, request } = this.#message;
    if (answer.finishReason === 'content_filter') {
      return this.#fail(new NexusError('content_filtered', `${target.provider} withheld the answer of ${target.model}`));
    }
    const usage = answerUsage(answer, this.#progress(), request);
    const durationMs = Math.round(this.#clock.monotonic() - this.#startedMs);
    const timeToFirstTokenMs = this.#firstDeltaMs === null ? null : Math.round(this.#firstDeltaMs);
    this.#release();
    return { done: false, value: { type: 'completed', ...answer, usage, timeToFirstTokenMs, durationMs } };
  }

  #fail(failure: NexusError): PartResult {
    const progress = this.#progress();
    this.#release();
    const error = failure.toInfo();
    const usage = failureUsage(error, progress, this.#message.request);
    const retryAfterMs = failure.retryAfterMs ?? null;
    return { done: false, value: { type: 'failed', error, retryAfterMs, usage, sent: progress.sent } };
  }

  #progress() {
    return this.#reading?.progress() ?? { sent: false, usage: noUsage, streamedTokens: 0 };
  }

  #release(): void {
    this.#state = 'ended';
    this.#signal.removeEventListener('abort', this.#onAbort);
  }
}

function asNexusError(error: unknown): NexusError {
  return error instanceof NexusError ? error : new NexusError('internal', 'an unexpected error; see the log', { cause: error });
}
