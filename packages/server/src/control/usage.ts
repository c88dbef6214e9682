import type { TenantId, UsageRow } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { LedgerStore } from '#storage';

const dayMs = 86_400_000;
const pageSize = 1_000;

/** What the ledger charged per UTC day, newest first; days without a charge are left out. */
export async function usageByDay(
  store: Pick<LedgerStore, 'listLedgerEntries'>,
  tenantId: TenantId,
  nowMs: number,
  days: number,
): Promise<readonly UsageRow[]> {
  const after = Math.floor(nowMs / dayMs) * dayMs - (days - 1) * dayMs;
  const rows = new Map<string, UsageRow>();
  let cursor: string | null = null;
  do {
    const page = await store.listLedgerEntries(tenantId, { after }, { limit: pageSize, ...(cursor === null ? {} : { cursor }) });
    for (const entry of page.items) {
      const day = toTimestamp(entry.at).slice(0, 10);
      const sum = rows.get(day) ?? { day, settlements: 0, costMicroUsd: 0, tokens: 0, toolCalls: 0, wallMs: 0 };
      const { costMicroUsd = 0, tokens = 0, toolCalls = 0, wallMs = 0 } = entry.amounts;
      rows.set(day, {
        day,
        settlements: sum.settlements + 1,
        costMicroUsd: sum.costMicroUsd + costMicroUsd,
        tokens: sum.tokens + tokens,
        toolCalls: sum.toolCalls + toolCalls,
        wallMs: sum.wallMs + wallMs,
      });
    }
    cursor = page.nextCursor;
  } while (cursor !== null);
  return [...rows.values()].sort((a, b) => (a.day < b.day ? 1 : -1));
}
