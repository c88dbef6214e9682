import type { BudgetScopeKind, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import { everyUser, periodAt, scopeKey } from '#ledger';
import type { BudgetUse, Measures } from '#storage/contract';
import type { Driver } from '#storage/program';
import { type Balance, countWork, inheritedBalances, sharedLimits } from '#storage/tables';
import { pieceByPiece, pieceRows } from './pieces.ts';

/** The state of the work of all tenants. Limits, and for each user without one of their own that of every user, are read in pieces. */
export async function measureAll(driver: Pick<Driver, 'read'>, nowMs: number): Promise<Measures> {
  const work = await driver.read(() => countWork(nowMs));
  const uses = createUses(nowMs);
  const forAll = new Map<string, number>();
  const limitKey = ({ tenant_id, unit, budget_window }: Balance) => `${tenant_id} ${unit} ${budget_window}`;
  await pieceByPiece<Balance>(
    driver,
    (after) => sharedLimits({ after, limit: pieceRows }),
    (row) => {
      if (row.limit_amount === null) return true;
      if (row.scope === scopeKey(everyUser)) forAll.set(limitKey(row), row.limit_amount);
      uses.add(row, row.limit_amount);
      return true;
    },
  );
  if (forAll.size > 0)
    await pieceByPiece<Balance>(
      driver,
      (after) => inheritedBalances({ after, limit: pieceRows }),
      (row) => {
        const limit = forAll.get(limitKey(row));
        if (limit !== undefined) uses.add(row, limit);
        return true;
      },
    );
  return { ...work, budgets: uses.all() };
}

function createUses(nowMs: number) {
  const uses = new Map<string, { -readonly [K in keyof BudgetUse]: BudgetUse[K] }>();
  return {
    add({ scope, unit, budget_window, period, spent, reserved }: Balance, limit: number): void {
      // A balance of a period that has ended begins anew.
      const isCurrent = period === periodAt(budget_window as BudgetWindow, nowMs); // written from one
      const share = limit === 0 ? 1 : ((isCurrent ? spent : 0) + reserved) / limit;
      const kind = scope.slice(0, scope.indexOf(':')) as BudgetScopeKind; // written by scopeKey
      const used = usedOf(share);
      const key = `${kind} ${unit} ${used}`;
      const use = uses.get(key) ?? { scope: kind, unit: unit as BudgetUnit, used, count: 0, largest: 0 }; // as above
      use.count += 1;
      use.largest = Math.max(use.largest, share);
      uses.set(key, use);
    },
    all: (): readonly BudgetUse[] => [...uses.values()],
  };
}

function usedOf(share: number): BudgetUse['used'] {
  if (share < 0.5) return 'under_half';
  if (share < 0.8) return 'under_80';
  return share < 1 ? 'under_100' : 'exhausted';
}
