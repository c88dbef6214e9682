import type { ErrorInfo, Usage } from '@nexus-agent/protocol';
import { estimateInputTokens, leastInputTokens } from '#llm/tokens';
import type { AttemptTerms } from './account.ts';

/** No model takes less. */
const leastContextTokens = 256;

/**
 * What a model takes of a request and its answer, as its refusal of this one teaches: what it said, and without a figure what is
 * certainly less than this request. In the tokens of our estimate, which is above the model's own for most texts: where this request
 * shows that it was below, the figure is made less in the same measure. Undefined when nothing new was said.
 */
export function contextFromRefusal({ request, target, maxOutputTokens }: AttemptTerms, error: ErrorInfo): number | undefined {
  if (error.code !== 'context_overflow') return undefined;
  const inputTokens = estimateInputTokens(request);
  const asked = inputTokens + maxOutputTokens;
  const { contextTokens: told, requestTokens } = error.details ?? {};
  let most = typeof told === 'number' ? told : asked;
  if (typeof requestTokens === 'number' && requestTokens > asked) most *= asked / requestTokens;
  // It was refused, so less must be taken than it had: the input, or half of it all where the answer is most of it.
  const taken = most < asked ? most : Math.min(Math.max(inputTokens, asked / 2), target.contextTokens * 0.8);
  const contextTokens = Math.max(leastContextTokens, Math.floor(taken));
  return contextTokens < target.contextTokens ? contextTokens : undefined;
}

/** Below this many tokens nothing is said about a cut: servers that keep what they read count only what is new. */
const leastCutTokens = 1_024;

/**
 * What a model takes when its server read less than it was sent, without a word: fewer tokens than the text can have. Such servers
 * (Ollama among them) are set to a power of two. Undefined when it read all, as far as can be told.
 */
export function contextFromUsage({ request, target }: AttemptTerms, usage: Usage | null): number | undefined {
  if (usage === null || usage.cacheReadTokens > 0 || usage.inputTokens < leastCutTokens) return undefined;
  const read = usage.inputTokens;
  // Counting is for the few that are suspicious: the estimate is about twice what is read of prose.
  if (estimateInputTokens(request) < read * 2) return undefined;
  if (leastInputTokens(request) <= read * 1.1) return undefined;
  const contextTokens = 2 ** Math.ceil(Math.log2(read));
  return contextTokens < target.contextTokens ? contextTokens : undefined;
}
