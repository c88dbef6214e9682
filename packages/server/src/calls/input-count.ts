import type { BudgetRefusal } from '@nexus-agent/protocol';
import type { CallEngine } from './engine.ts';
import type { ModelAttempt } from './model-attempt.ts';

/**
 * Has the input of an attempt counted that a budget refused because of what its bound would cost. True when the bound came down, so
 * that another try is worth making. Takes seconds at most.
 */
export async function lowerInputBound(
  { llm, inputCounts }: Pick<CallEngine, 'llm' | 'inputCounts'>,
  { tenantId, target, call, inputTokens }: Pick<ModelAttempt, 'tenantId' | 'target' | 'call' | 'inputTokens'>,
  { unit }: Pick<BudgetRefusal, 'unit'>,
  signal: AbortSignal,
): Promise<boolean> {
  if (unit !== 'tokens' && unit !== 'costMicroUsd') return false;
  const { request } = call;
  const asked = { tenantId, target, request };
  if (inputCounts.isCounted(asked)) return false;
  const counted = await llm.countInput(asked, { signal });
  if (counted === null) return false;
  inputCounts.learn(asked, counted);
  return inputCounts.bound(asked) < inputTokens;
}
