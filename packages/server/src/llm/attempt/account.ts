import { noUsage, type Usage } from '@nexus-agent/protocol';
import type { NexusError } from '#core';
import type { AttemptMessage } from '#llm/contract';
import { leastInputTokens } from '#llm/tokens';
import type { Progress } from './provider.ts';

/** An attempt as its account sees it: what was asked, of whom, and within which limit. */
export type AttemptTerms = Pick<AttemptMessage, 'request' | 'target' | 'inputTokens' | 'maxOutputTokens'>;

/** What may still have been on its way when a stream ended that showed everything the model wrote. */
const inFlightTokens = 64;

/**
 * What an answer used: what the provider said, but never less than was received; else the most that can have been sent, and an estimate of
 * what was received, or the whole limit where the model may have thought unseen.
 */
export function answerUsage(terms: AttemptTerms, progress: Progress): Usage {
  const { usage } = progress;
  if (usage !== null) return believed(terms, progress, usage);
  return { ...noUsage, inputTokens: terms.inputTokens, outputTokens: unstatedOutput(terms, progress, 0) };
}

/**
 * What an answer used that was stopped because the server went on beyond its limit: what came, however it is counted, and never
 * less than the limit. What the server said before the end says little.
 */
export function overrunUsage(terms: AttemptTerms, progress: Progress): Usage {
  const { inputTokens, outputTokens, ...rest } = progress.usage ?? { ...noUsage, inputTokens: 0 };
  const output = Math.max(outputTokens, progress.streamedTokens, terms.maxOutputTokens);
  return { ...rest, inputTokens: plausibleInput(terms, inputTokens), outputTokens: output };
}

/**
 * What a failed attempt is charged for: nothing when it was not sent or the provider refused it; else what the provider said. A
 * stream that broke or was left says too little of its output, so that is raised to what may have been made of it: all of the
 * limit when nothing of it was seen or the model may think unseen, else what was seen.
 */
export function failureUsage(terms: AttemptTerms, progress: Progress, error: NexusError): Usage {
  if (!progress.sent) return noUsage;
  const { usage, streamedTokens } = progress;
  if (usage === null && streamedTokens === 0 && isRefusal(error)) return noUsage;
  if (usage !== null && (progress.final || error.code === 'content_filtered')) return believed(terms, progress, usage);
  const { inputTokens, outputTokens, ...rest } = usage ?? { ...noUsage, inputTokens: 0 };
  return {
    ...rest,
    inputTokens: plausibleInput(terms, inputTokens),
    outputTokens: Math.max(outputTokens, unstatedOutput(terms, progress, inFlightTokens)),
  };
}

/**
 * Whether a provider's answer says that it did not do the work. A status below 500 does, a redirect too, but for a time-out; one above may come
 * from a proxy that gave up on work that goes on, unless the provider's own error says that it had no room or is not available.
 */
function isRefusal({ details, retryAfterMs }: NexusError): boolean {
  const status = details?.status;
  const words = typeof details?.providerCode === 'string' ? details.providerCode : '';
  if (/overloaded|rate_limit|too_many_requests|insufficient_quota/.test(words)) return true;
  if (typeof status !== 'number') return false;
  if (status === 503) return words !== '' || retryAfterMs !== undefined;
  return status === 529 || (status >= 300 && status < 500 && status !== 408 && status !== 499);
}

function believed(terms: AttemptTerms, { receivedTokens }: Progress, usage: Usage): Usage {
  return {
    ...usage,
    inputTokens: plausibleInput(terms, usage.inputTokens),
    outputTokens: Math.max(usage.outputTokens, receivedTokens),
  };
}

/** What is said of the input, unless the words that were sent have more tokens whatever the model makes of them: that is no account. */
function plausibleInput({ request, inputTokens }: AttemptTerms, said: number): number {
  return said < leastInputTokens(request) ? Math.max(said, inputTokens) : said;
}

/** An estimate of what was received says nothing of a limit that was gone beyond: only what was received at least does. */
function unstatedOutput({ target, maxOutputTokens }: AttemptTerms, progress: Progress, unseen: number): number {
  const { streamedTokens, receivedTokens } = progress;
  const most = Math.max(maxOutputTokens, receivedTokens);
  if (target.thinksUnseen || (streamedTokens === 0 && unseen > 0)) return most;
  return Math.min(most, streamedTokens + unseen);
}
