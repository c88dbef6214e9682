import { type ErrorInfo, noUsage, type Usage } from '@nexus-agent/protocol';
import { abortError, type Clock, NexusError, systemTimers, toErrorInfo } from '#core';
import { type Attempt, startAttempt } from './attempt.ts';
import { createCatalogue, type ModelSettings } from './catalogue.ts';
import type { Progress, Provider } from './provider.ts';
import { defaultRetryPolicy, type RetryPolicy, retryDelayMs, tryNextTarget } from './retry.ts';
import { estimateInputTokens, estimatePartTokens } from './tokens.ts';
import type { LanguageModels, ModelPart, ModelRequest, ModelTarget, StreamOptions } from './types.ts';

export interface LanguageModelsDependencies {
  /** In order of preference for a bare model name that several of them serve. */
  readonly providers: readonly Provider[];
  readonly clock: Clock;
  /** Between 0 and 1; spreads retries out. */
  readonly random?: () => number;
  readonly retry?: Partial<RetryPolicy>;
  /** Prices and limits by `provider/model` or `provider/*`; they win over the catalogue. */
  readonly models?: Readonly<Record<string, ModelSettings>>;
}

/**
 * The LLM service in this process.
 *
 * The gate sees `begin (failed begin)*`: `failed` reports an attempt that another one follows, or was going to follow
 * when the stream was cancelled or the gate refused. The attempt that ends the stream is reported by the terminal part
 * alone, whose usage covers that attempt and nothing that `failed` was told.
 */
export function createLanguageModels(dependencies: LanguageModelsDependencies): LanguageModels {
  const { providers } = dependencies;
  const catalogue = createCatalogue(dependencies);
  return {
    resolve: catalogue.resolve,
    list: catalogue.list,
    estimateInputTokens,
    stream: (request, options) => ({ [Symbol.asyncIterator]: () => openStream(dependencies, request, options) }),
    async close() {
      await Promise.all(providers.map((provider) => provider.close()));
    },
  };
}

/** Returning early, like aborting, ends the upstream request at once, even while a `next` is pending. */
function openStream(dependencies: LanguageModelsDependencies, request: ModelRequest, options: StreamOptions): AsyncIterator<ModelPart> {
  const stop = new AbortController();
  const onAbort = () => stop.abort(abortError(options.signal));
  if (options.signal.aborted) onAbort();
  else options.signal.addEventListener('abort', onAbort, { once: true });
  let released = false;
  /** Nothing is left that could be stopped. */
  const release = () => {
    released = true;
    options.signal.removeEventListener('abort', onAbort);
  };
  const parts = run(dependencies, request, options, stop.signal, release);
  return {
    next: () => parts.next(),
    return() {
      if (!released) stop.abort(new NexusError('cancelled', 'the reader left the stream'));
      release();
      return parts.return(undefined);
    },
  };
}

interface Failure {
  readonly target: ModelTarget | null;
  readonly attempt: number;
  readonly error: ErrorInfo;
  readonly usage: Usage;
}

async function* run(
  dependencies: LanguageModelsDependencies,
  request: ModelRequest,
  options: StreamOptions,
  signal: AbortSignal,
  release: () => void,
): AsyncGenerator<ModelPart, void> {
  let current: Attempt | null = null;
  let attempt = 0;
  const onAbort = () => current?.cancel(abortError(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const { clock, random = Math.random } = dependencies;
    const policy = { ...defaultRetryPolicy, ...dependencies.retry };
    const providers = new Map(dependencies.providers.map((provider) => [provider.name, provider]));
    const estimatedInputTokens = estimateInputTokens(request);
    let previous: { readonly target: ModelTarget; readonly error: ErrorInfo } | null = null;
    let failure: Failure = { target: null, attempt: 0, error: noTargets, usage: noUsage };

    targets: for (const [index, target] of options.targets.entries()) {
      const provider = providers.get(target.provider);
      if (provider === undefined) {
        failure = { ...failure, target, error: notConfigured(target), usage: noUsage };
        continue;
      }
      for (let tries = 1; ; tries++) {
        if (signal.aborted) return yield failed({ target, attempt, error: abortError(signal).toInfo(), usage: noUsage });
        attempt += 1;
        const grant = await options.gate.begin({ target, attempt, estimatedInputTokens, previous });
        if (grant.type === 'refused') {
          failure = { target, attempt, error: grant.error, usage: noUsage };
          if (grant.final) break targets;
          continue targets;
        }
        // Granted, but never sent: the terminal part says that nothing was used.
        if (signal.aborted) return yield failed({ target, attempt, error: abortError(signal).toInfo(), usage: noUsage });
        yield { type: 'attempt.started', target, attempt };
        if (signal.aborted) return yield failed({ target, attempt, error: abortError(signal).toInfo(), usage: noUsage });
        const startedMs = clock.monotonic();
        current = startAttempt(provider, {
          model: target.model,
          request,
          maxOutputTokens: Math.min(grant.maxOutputTokens, target.maxOutputTokens),
          timeoutMs: grant.timeoutMs,
          ...(options.traceparent === undefined ? {} : { traceparent: options.traceparent }),
        });
        let firstDeltaMs: number | null = null;
        let error: NexusError | null = null;
        while (error === null) {
          const pending = current.next();
          const item = pending instanceof Promise ? await pending : pending;
          switch (item.type) {
            case 'delta':
              firstDeltaMs ??= clock.monotonic() - startedMs;
              yield { type: item.kind === 'text' ? 'text.delta' : 'reasoning.delta', text: item.text };
              break;
            case 'done': {
              const { content, finishReason } = item.answer;
              if (finishReason === 'content_filter') {
                error = new NexusError('content_filtered', `${target.provider} withheld the answer of ${target.model}`);
                break;
              }
              const progress = current.progress();
              const answered = content.reduce((sum, part) => sum + estimatePartTokens(part), 0);
              const usage = progress.usage ?? { ...noUsage, inputTokens: estimatedInputTokens, outputTokens: answered };
              const durationMs = Math.round(clock.monotonic() - startedMs);
              const timeToFirstTokenMs = firstDeltaMs === null ? null : Math.round(firstDeltaMs);
              current = null;
              release();
              return yield { type: 'completed', target, attempt, content, finishReason, usage, timeToFirstTokenMs, durationMs };
            }
            case 'failed':
              error = item.error;
              break;
            default:
              item satisfies never;
          }
        }
        const progress = current.progress();
        current = null;
        const info = error.toInfo();
        const usage = failedUsage(info, progress, estimatedInputTokens);
        failure = { target, attempt, error: info, usage };
        if (firstDeltaMs !== null || signal.aborted) break targets;
        const remainingMs = grant.timeoutMs - (clock.monotonic() - startedMs);
        const hasNext = index + 1 < options.targets.length && tryNextTarget(error);
        const delayMs = retryDelayMs({ error, tries, attempt, policy, remainingMs, hasNext, random });
        if (delayMs === null && (!hasNext || attempt >= policy.maxAttempts)) break targets;
        await options.gate.failed({ target, attempt, error: info, usage, sent: progress.sent });
        previous = { target, error: info };
        if (delayMs === null) continue targets;
        await systemTimers.sleep(delayMs, signal);
      }
    }
    yield failed(failure);
  } catch (error) {
    // Our caller's gate threw, the wait between attempts was cut short, or an answer could not be worked on: that one was sent.
    const info = toErrorInfo(error);
    const usage = current === null ? noUsage : failedUsage(info, current.progress(), estimateInputTokens(request));
    yield failed({ target: null, attempt, error: info, usage });
  } finally {
    signal.removeEventListener('abort', onAbort);
    release();
    if (current !== null) current.cancel(new NexusError('cancelled', 'the reader left the stream'));
  }
}

const noTargets: ErrorInfo = { code: 'model_not_found', message: 'no model was given to try', retryable: false };

function failed(failure: Failure): ModelPart {
  return { type: 'failed', ...failure };
}

function notConfigured(target: ModelTarget): ErrorInfo {
  return { code: 'model_not_found', message: `no provider named ${target.provider} is configured`, retryable: false };
}

/**
 * What a failed attempt used: nothing when it was not sent or an answer's status refused it; else what the provider
 * said, raised to what was counted (a stream that broke reports its output too low), and the input estimate if it said nothing.
 */
function failedUsage(error: ErrorInfo, progress: Progress, estimatedInputTokens: number): Usage {
  if (!progress.sent) return noUsage;
  const refused = typeof error.details?.status === 'number';
  if (progress.usage === null) {
    if (refused && progress.streamedTokens === 0) return noUsage;
    return { ...noUsage, inputTokens: estimatedInputTokens, outputTokens: progress.streamedTokens };
  }
  const finished = error.code === 'content_filtered';
  return finished ? progress.usage : { ...progress.usage, outputTokens: Math.max(progress.usage.outputTokens, progress.streamedTokens) };
}
