import { type ErrorInfo, noUsage, type Usage } from '@nexus-agent/protocol';
import type { Answer, ModelRequest } from '#llm/contract';
import { estimateInputTokens, estimatePartTokens } from '#llm/tokens';
import type { Progress } from './provider.ts';

/** What an answer used: what the provider said, else an estimate of what was sent and received; never nothing. */
export function answerUsage({ content }: Answer, progress: Progress, request: ModelRequest): Usage {
  if (progress.usage !== null) return progress.usage;
  const outputTokens = content.reduce((sum, part) => sum + estimatePartTokens(part), 0);
  return { ...noUsage, inputTokens: estimateInputTokens(request), outputTokens };
}

/**
 * What a failed attempt used: nothing when it was not sent or an answer's status refused it; else what the provider
 * said, raised to what was counted (a stream that broke reports its output too low), and the input estimate if it said nothing.
 */
export function failureUsage(error: ErrorInfo, progress: Progress, request: ModelRequest): Usage {
  if (!progress.sent) return noUsage;
  const refused = typeof error.details?.status === 'number';
  if (progress.usage === null) {
    if (refused && progress.streamedTokens === 0) return noUsage;
    return { ...noUsage, inputTokens: estimateInputTokens(request), outputTokens: progress.streamedTokens };
  }
  const finished = error.code === 'content_filtered';
  return finished ? progress.usage : { ...progress.usage, outputTokens: Math.max(progress.usage.outputTokens, progress.streamedTokens) };
}
