import { type AssumedCount, dictionary, noUsage, type Usage } from '@nexus-agent/protocol';
import type { NexusError } from '#core';
import type { AttemptMessage } from '#llm/contract';
import { leastInputTokens, mostExcessTokens } from '#llm/tokens';
import type { Progress } from './provider.ts';

/** An attempt as its account sees it: what was asked, of whom, and within which limit. */
export type AttemptTerms = Pick<AttemptMessage, 'request' | 'target' | 'inputTokens' | 'maxOutputTokens'>;

/** What may still have been on its way when a stream ended that showed everything the model wrote. */
const inFlightTokens = 64;

/** What an attempt is charged for, and which of its counts the provider did not give, or gave lower than they can be. */
export interface AttemptUse {
  readonly usage: Usage;
  readonly assumed: readonly AssumedCount[];
}

/**
 * What an answer used: what the provider said of all of it, but never less than was received; else the most that can have been sent, and an
 * estimate of what was received, or the whole limit where the model may have thought unseen.
 */
export function answerUse(terms: AttemptTerms, progress: Progress): AttemptUse {
  return used(terms, progress, progress.accounted ? progress.receivedTokens : unstatedOutput(terms, progress, 0));
}

/**
 * What an answer used that was stopped because the server went on beyond its limit: what came, however it is counted, and never
 * less than the limit. What the server said before the end says little.
 */
export function overrunUse(terms: AttemptTerms, progress: Progress): AttemptUse {
  return used(terms, progress, Math.max(progress.streamedTokens, terms.maxOutputTokens));
}

/**
 * What a failed attempt is charged for: nothing when it was not sent or the provider refused it; else what the provider said. A
 * stream that broke or was left says too little of its output, so that is raised to what may have been made of it: all of the
 * limit when nothing of it was seen or the model may think unseen, else what was seen.
 */
export function failureUse(terms: AttemptTerms, progress: Progress, error: NexusError): AttemptUse {
  const { sent, begun, usage, streamedTokens, accounted, final } = progress;
  const refused = usage === null && streamedTokens === 0 && !begun && isRefusal(error);
  if (!sent || refused) return { usage: noUsage, assumed: [] };
  const whole = accounted && (final || error.code === 'content_filtered');
  return used(terms, progress, whole ? progress.receivedTokens : unstatedOutput(terms, progress, inFlightTokens));
}

/**
 * Whether a provider's answer says that it did not do the work. A status from 300 to 499 does, but for a time-out; one above may come
 * from a proxy that gave up on work that goes on, unless the provider's own error says that it had no room or is not available.
 */
function isRefusal({ details, retryAfterMs }: NexusError): boolean {
  const status = details?.status;
  const words = typeof details?.providerCode === 'string' ? details.providerCode : '';
  if (/overloaded|rate_limit|too_many_requests|insufficient_quota/.test(words)) return true;
  if (typeof status !== 'number') return false;
  if (status === 503) return words !== '' || retryAfterMs !== undefined;
  // A redirect is not followed: whoever gave it has done nothing.
  return status === 529 || (status >= 300 && status < 500 && status !== 408 && status !== 499);
}

/** What the provider said, but of the output no less than there was, as far as is known here, and of nothing more than a chunk beyond its bound. */
function used(terms: AttemptTerms, progress: Progress, leastOutput: number): AttemptUse {
  const said = progress.usage ?? { ...noUsage, inputTokens: terms.inputTokens };
  const inputTokens = Math.min(plausibleInput(terms, said.inputTokens), terms.inputTokens + mostExcessTokens);
  const outputTokens = Math.min(Math.max(said.outputTokens, leastOutput), terms.maxOutputTokens + mostExcessTokens);
  const cacheReadTokens = Math.min(said.cacheReadTokens, inputTokens);
  const usage = dictionary({
    inputTokens,
    outputTokens,
    cacheReadTokens,
    cacheWriteTokens: Math.min(said.cacheWriteTokens, inputTokens - cacheReadTokens),
    reasoningTokens: Math.min(said.reasoningTokens, outputTokens),
  });
  const assumed = (['inputTokens', 'outputTokens'] as const).filter((count) => usage[count] > (progress.usage?.[count] ?? -1));
  return { usage, assumed };
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
