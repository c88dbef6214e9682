/** What tenants have, and the locks under which it is counted; see `TenantQuotas`. */
import { dictionary } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import { type QuotaKind, requireQuota, type TenantQuotas } from '#storage/contract';
import { defineTable, insertMany, type Program, type Row, selectMany, updateMany } from '#storage/program';
import { rowsOf, write } from './statements.ts';

export const tenantCounts = defineTable('tenant_counts', { tenant_id: 'text', kind: 'text', amount: 'int' });
export const contents = defineTable('contents', { tenant_id: 'text', sha256: 'text', bytes: 'int' });
export type CountRow = Row<typeof tenantCounts>;

/** Locks what counts these kinds until the transaction ends, and says how many there are of those that are kept as a number. */
export function* lockCounts(tenantId: string, kinds: Iterable<QuotaKind>): Program<Map<QuotaKind, number>> {
  const wanted = [...new Set(kinds)].sort();
  const found = yield* lockKnownCounts(tenantId, wanted);
  if (found.size === wanted.length) return found;
  yield* insertMany(
    tenantCounts,
    wanted.map((kind) => ({ tenant_id: tenantId, kind, amount: 0 })),
    'ignore',
  );
  return yield* lockKnownCounts(tenantId, wanted);
}

/** The same for kinds that were counted before: it takes all of its locks with what it asks first, so that others may ask for theirs beside it. */
export function* lockKnownCounts(tenantId: string, kinds: Iterable<QuotaKind>): Program<Map<QuotaKind, number>> {
  const wanted = [...new Set(kinds)].sort();
  const rows = yield* selectMany(tenantCounts, ['kind', 'amount'], { tenantId, key: 'kind', keys: wanted, orderBy: ['kind'], lock: true });
  return new Map(rows.map(({ kind, amount }) => [kind as QuotaKind, amount])); // written from these
}

export function writeCounts(rows: CountRow[]): Program<number> {
  return updateMany(tenantCounts, ['tenant_id', 'kind'], ['amount'], rows);
}

/** What goes makes room. The row is there, as what goes has been counted. */
export function* uncount(tenantId: string, kind: QuotaKind, amount: number): Program<void> {
  if (amount <= 0) return;
  yield* write(sql`update tenant_counts set amount = case when amount > ${amount} then amount - ${amount} else 0 end
    where tenant_id = ${tenantId} and kind = ${kind}`);
}

/** Kinds of which there are never so many that counting them takes long. */
export type CountedKind = 'queuedRuns' | 'approvals' | 'budgets' | 'agents' | 'keys' | 'toolSources';

const rowsToCount = dictionary({
  queuedRuns: sql`runs where status = 'queued' and parent_run_id is null and`,
  approvals: sql`approvals where status = 'pending' and kind <> 'client_result' and`,
  agents: sql`agents where`,
  keys: sql`api_keys where revoked_at is null and`,
  toolSources: sql`tool_sources where`,
});

/** How many there are, counted up to `most`. */
export function* countUpTo(tenantId: string, kind: CountedKind, most: number): Program<number> {
  if (!Number.isFinite(most)) return 0;
  const limit = most + 1;
  const found =
    kind === 'budgets'
      ? sql`select distinct scope from budgets
          where tenant_id = ${tenantId} and limit_amount is not null and substr(scope, 1, 4) not in ('run:', 'sess') limit ${limit}`
      : sql`select 1 as one from ${rowsToCount[kind]} tenant_id = ${tenantId} limit ${limit}`;
  const [row] = yield* rowsOf(sql<{ count: number }>`select count(*) as count from (${found}) as found`);
  return row?.count ?? 0;
}

/** Which of these scopes have a limit. */
export function* limitedScopes(tenantId: string, scopes: readonly string[]): Program<ReadonlySet<string>> {
  if (scopes.length === 0) return new Set();
  const rows = yield* rowsOf(sql<{ scope: string }>`select distinct scope from budgets
    where tenant_id = ${tenantId} and limit_amount is not null and scope in (${sql.join([...scopes])})`);
  return new Set(rows.map(({ scope }) => scope));
}

/** Counts a content that is about to be kept, unless it has been; throws `quota_exceeded`, and the transaction leaves nothing. */
export function* countContent(
  { tenantId, sha256, bytes }: { readonly tenantId: string; readonly sha256: string; readonly bytes: number },
  quotas: TenantQuotas,
): Program<void> {
  if ((yield* insertMany(contents, [{ tenant_id: tenantId, sha256, bytes }], 'ignore')) === 0) return;
  const counts = yield* lockCounts(tenantId, ['contents', 'contentBytes']);
  const adds = dictionary({ contents: 1, contentBytes: bytes });
  for (const kind of ['contents', 'contentBytes'] as const) requireQuota(quotas, kind, counts.get(kind) ?? 0, adds[kind]);
  yield* writeCounts(
    [...counts].map(([kind, amount]) => ({ tenant_id: tenantId, kind, amount: amount + adds[kind as keyof typeof adds] })),
  );
}

export function* uncountContent(tenantId: string, sha256: string): Program<void> {
  const gone = yield* rowsOf(
    sql<{ bytes: number }>`delete from contents where tenant_id = ${tenantId} and sha256 = ${sha256} returning bytes`,
  );
  const [row] = gone;
  if (row === undefined) return;
  const counts = yield* lockCounts(tenantId, ['contents', 'contentBytes']);
  const left = { contents: (counts.get('contents') ?? 1) - 1, contentBytes: (counts.get('contentBytes') ?? 0) - row.bytes };
  yield* writeCounts(Object.entries(left).map(([kind, amount]) => ({ tenant_id: tenantId, kind, amount: Math.max(0, amount) })));
}
