import type { TenantId } from '@nexus-agent/protocol';
import type { LedgerEntry, LedgerRow } from '../../packages/server/src/ledger/index.ts';
import type { PageOf, PageRequest, Store } from '../../packages/server/src/storage/index.ts';

/** Every item of a paged list. */
export async function all<T>(list: (page: PageRequest) => Promise<PageOf<T>>): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await list({ limit: 500, ...(cursor === undefined ? {} : { cursor }) });
    items.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return items;
}

/**
 * What is wrong with a tenant's books, empty when nothing is: spent + reserved within the limit (apart from what the
 * ledger itself flags as late usage), spent = the ledger's sum, reserved = the sum of open reservations.
 */
export async function auditLedger(store: Store, tenantId: TenantId, nowMs = Date.now()): Promise<string[]> {
  const rows = await all((page) => store.listBudgets(tenantId, {}, nowMs, page));
  const entries = await all((page) => store.listLedgerEntries(tenantId, {}, page));
  const open = await store.listReservations(tenantId, { state: 'open' });
  const problems: string[] = [];
  for (const row of rows) {
    const key = `${row.scope.kind}:${row.scope.id}|${row.unit}|${row.window}`;
    const booked = (of: readonly LedgerEntry[]) => {
      const here = of.filter((entry) => entry.rows.some((place) => place.key === key && place.period === row.period));
      return here.reduce((sum, entry) => sum + (entry.amounts[row.unit] ?? 0), 0);
    };
    // A row that was there lists what it was charged; one that came later began with what was for it before.
    const listed = booked(entries);
    const spent = row.spent === listed ? listed : await bookedFor(store, tenantId, row, entries);
    const late = booked(entries.filter((entry) => entry.kind === 'late_usage'));
    const held = open.filter((reservation) => reservation.rows.includes(key));
    const reserved = held.reduce((sum, reservation) => sum + (reservation.amounts[row.unit] ?? 0), 0);
    if (row.spent !== spent) problems.push(`${key}: spent ${row.spent}, the ledger says ${spent}`);
    if (row.reserved !== reserved) problems.push(`${key}: reserved ${row.reserved}, open reservations say ${reserved}`);
    if (row.limit !== null && row.spent + row.reserved - late > row.limit) {
      problems.push(`${key}: ${row.spent} spent and ${row.reserved} reserved of ${row.limit}`);
    }
    if (row.spent < 0 || row.reserved < 0) problems.push(`${key}: negative balance`);
  }
  const settlements = entries.filter(
    (entry) => entry.kind === 'settlement' || entry.kind === 'overrun' || entry.kind === 'charged_maximum',
  );
  const settled = new Set<string>();
  for (const { reservationId } of settlements) {
    if (settled.has(reservationId)) problems.push(`${reservationId} was settled twice`);
    settled.add(reservationId);
  }
  return problems;
}

/** The sum of the entries that are for a scope, by whom they are for. */
async function bookedFor(store: Store, tenantId: TenantId, { scope, unit, period }: LedgerRow, entries: readonly LedgerEntry[]) {
  const { kind, id } = scope;
  const family = new Set([id]);
  if (kind === 'run') {
    const runs = await all((page) => store.listRuns(tenantId, {}, { ...page, limit: 200 }));
    for (const run of runs.reverse()) if (run.parentRunId !== null && family.has(run.parentRunId)) family.add(run.runId);
  }
  const own = entries.filter(({ subject, runId, day }) => {
    if (!day.startsWith(period)) return false;
    return kind === 'tenant' || (kind === 'run' ? runId !== null && family.has(runId) : subject[kind] === id);
  });
  return own.reduce((sum, { amounts }) => sum + (amounts[unit] ?? 0), 0);
}

/**
 * Balances of the tenant, its projects, agents and users that differ from the sum of the entries that are for them: each begins with what
 * was spent in its period before it was there, so that they must be equal whenever it came to be.
 */
export async function auditCounted(store: Store, tenantId: TenantId, nowMs = Date.now()): Promise<string[]> {
  const rows = await all((page) => store.listBudgets(tenantId, {}, nowMs, page));
  const entries = await all((page) => store.listLedgerEntries(tenantId, {}, page));
  const problems: string[] = [];
  for (const row of rows) {
    const { scope, unit, window, spent } = row;
    if (scope.kind === 'run' || scope.kind === 'session' || scope.id === '*') continue;
    const booked = await bookedFor(store, tenantId, row, entries);
    if (booked !== spent) problems.push(`${scope.kind}:${scope.id} ${unit} ${window}: spent ${spent}, the ledger says ${booked}`);
  }
  return problems;
}
