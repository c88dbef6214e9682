import type { BudgetUnit, BudgetView } from '@nexus-agent/protocol';
import type { LedgerRow } from '#ledger';

/** What a person is shown of one scope: its totals by unit. Rows of other windows are left out. */
export function budgetView(rows: Iterable<Pick<LedgerRow, 'unit' | 'window' | 'limit' | 'spent' | 'reserved'>>): BudgetView {
  const limit: Partial<Record<BudgetUnit, number>> = {};
  const spent: Partial<Record<BudgetUnit, number>> = {};
  const reserved: Partial<Record<BudgetUnit, number>> = {};
  for (const row of rows) {
    if (row.window !== 'total') continue;
    if (row.limit !== null) limit[row.unit] = row.limit;
    spent[row.unit] = row.spent;
    reserved[row.unit] = row.reserved;
  }
  return { limit, spent, reserved };
}
