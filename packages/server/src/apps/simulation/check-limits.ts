import type { Driver } from '#storage/drivers';
import { balanceKey } from './books.ts';
import { booked, type Raw, selectAll } from './rows.ts';
import { Violation } from './violation.ts';

export interface LimitChecks {
  /** Throws {@link Violation} where one of these balances is beyond its limit: its own, or for a user who has none that of every user. */
  hold(balances: ReadonlyMap<string, Raw>, keys: Iterable<string>): Promise<void>;
}

export function createLimitChecks(database: Driver): LimitChecks {
  /** What was spent and reserved when a limit was set below it: that is nobody's fault. */
  const excused = new Map<string, { readonly limit: number; readonly taken: number }>();
  const known = new Map<string, number>();

  async function within(row: Raw, key: string, limit: number): Promise<void> {
    const flagged = await flaggedIn(key, String(row.period), String(row.unit));
    const taken = Number(row.spent) + Number(row.reserved) - flagged;
    // A limit under which the balance was not seen before came with this very transaction.
    if (taken > limit && known.get(key) !== limit) excused.set(key, { limit, taken });
    const excuse = excused.get(key);
    const allowed = excuse?.limit === limit ? Math.max(limit, excuse.taken) : limit;
    if (taken > allowed)
      throw new Violation(
        `budget: ${key} has ${row.spent} spent and ${row.reserved} reserved of ${limit}, of which servers took ${flagged} beyond what was agreed`,
      );
  }

  /** What the ledger itself says went beyond what was reserved. */
  async function flaggedIn(key: string, period: string, unit: string): Promise<number> {
    const entries = await selectAll(
      database,
      "select cost_micro_usd, tokens, tool_calls, wall_ms, budget_rows from ledger_entries where kind in ('late_usage', 'overrun')",
    );
    return entries.reduce((sum, entry) => {
      const rows: { key: string; period: string }[] = JSON.parse(String(entry.budget_rows));
      const isHere = rows.some((row) => row.key === key && row.period === period);
      return sum + (isHere ? Math.max(0, booked(entry, unit)) : 0);
    }, 0);
  }

  return {
    async hold(balances, keys) {
      for (const key of keys) {
        const row = balances.get(key);
        if (row === undefined) continue;
        const everyUsers = Number(row.inherited) === 1 ? balances.get(balanceKey({ ...row, scope: 'user:*' })) : undefined;
        const limit = row.limit_amount ?? everyUsers?.limit_amount ?? null;
        if (limit === null) continue;
        if (Number(row.spent) + Number(row.reserved) > Number(limit)) await within(row, key, Number(limit));
        known.set(key, Number(limit));
      }
    },
  };
}
