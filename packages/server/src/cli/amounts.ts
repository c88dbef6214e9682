import type { BudgetUnit } from '@nexus-agent/protocol';
import type { LimitUnit } from '#core';
import { UsageError } from './exit-codes.ts';

/** What a person typed as an amount, in the units of the ledger; `of` names the option or argument in the error. */
export async function typedAmount(
  text: string,
  unit: LimitUnit,
  of: string,
): Promise<{ readonly unit: BudgetUnit; readonly limit: number }> {
  const { limitOf } = await import('#core');
  try {
    return limitOf(text, unit);
  } catch (error) {
    throw new UsageError(`${of}: ${error instanceof Error ? error.message : error}`);
  }
}
