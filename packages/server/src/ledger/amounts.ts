import { type BudgetAmounts, budgetUnits } from '@nexus-agent/protocol';
import { NexusError } from '#core';

/** Price of `tokens` in micro-USD, rounded up so that a sum of reservations never falls short of the bill. */
function costOfTokens(tokens: number, costMicroUsdPerMillion: number): number {
  const product = tokens * costMicroUsdPerMillion;
  if (Number.isSafeInteger(product)) return Math.ceil(product / 1_000_000);
  return Number((BigInt(tokens) * BigInt(costMicroUsdPerMillion) + 999_999n) / 1_000_000n);
}

/** The most tokens that `costMicroUsd` pays for. */
export function tokensForCost(costMicroUsd: number, costMicroUsdPerMillion: number): number {
  if (costMicroUsdPerMillion === 0) return Number.POSITIVE_INFINITY;
  if (costMicroUsd <= 0) return 0;
  return Number((BigInt(costMicroUsd) * 1_000_000n) / BigInt(costMicroUsdPerMillion));
}

/** What is needed in any case, and a share of the ranges. */
export function withRanges(
  fixed: BudgetAmounts,
  tokens: { count: number; price: number } | undefined,
  wallMs: number | undefined,
): BudgetAmounts {
  return {
    ...fixed,
    ...(tokens === undefined
      ? {}
      : {
          tokens: (fixed.tokens ?? 0) + tokens.count,
          costMicroUsd: (fixed.costMicroUsd ?? 0) + costOfTokens(tokens.count, tokens.price),
        }),
    ...(wallMs === undefined ? {} : { wallMs: (fixed.wallMs ?? 0) + wallMs }),
  };
}

/** Amounts that are exact: a fraction or a negative number here is a bug of the caller and would corrupt the balance. */
export function checked(amounts: BudgetAmounts): BudgetAmounts {
  for (const unit of budgetUnits) checkAmount(amounts[unit] ?? 0, unit);
  return amounts;
}

export function checkRange(min: number, max: number, price: number): void {
  checkAmount(min, 'min');
  checkAmount(max, 'max');
  checkAmount(price, 'costMicroUsdPerMillion');
  if (min > max) throw new NexusError('internal', `a range of a reservation has min ${min} above max ${max}`);
}

function checkAmount(value: number, name: string): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new NexusError('internal', `budget amount ${name} must be a whole number of at least 0, not ${value}`);
  }
}
