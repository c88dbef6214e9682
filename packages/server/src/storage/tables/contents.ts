/** Which contents of files are to be looked at again: see `ContentTable`. They are noted among the removals, `at` says when. */
import { type RawBuilder, sql } from 'kysely';
import type { Aged, Removal, TenantQuotas } from '#storage/contract';
import { databaseNow, defineTable, type Program, queriesOn } from '#storage/program';
import { countContent } from './quotas.ts';
import { rowsOf, write } from './statements.ts';

/** What is still to be deleted, and contents that are to be looked at; see `Removal`. */
export const removals = defineTable('removals', { tenant_id: 'text', kind: 'text', id: 'text', at: 'int' });

const { query } = queriesOn(removals);

type Hash = { readonly tenantId: string; readonly sha256: string };

/** Notes that contents are due then, unless they are due later or in the last half of that time already. */
function note(
  tenant: string,
  hashes: readonly string[],
  { now, keepMs }: { readonly now: number; readonly keepMs: number },
): Program<number> {
  const due = now + keepMs;
  const rows = sql.join(hashes.map((hash) => sql`(${tenant}, 'content', ${hash}, ${due})`));
  return write(sql`insert into removals (tenant_id, kind, id, at) values ${rows}
    on conflict (tenant_id, kind, id) do update set at = excluded.at where removals.at < ${now + Math.ceil(keepMs / 2)}`);
}

/** Rows of one statement. */
const maxNoted = 200;

/** What no file may name any more. In one order everywhere, so that two transactions never wait for each other in a ring. */
export function* noteContents(tenant: string, hashes: ReadonlySet<string>, keepMs: number): Program<void> {
  const now = yield* databaseNow();
  const sorted = [...hashes].sort();
  for (let from = 0; from < sorted.length; from += maxNoted) yield* note(tenant, sorted.slice(from, from + maxNoted), { now, keepMs });
}

/** Whoever takes a content locks its note first, so that of a touch and a removal at once the later one sees the earlier. */
export function* touchContent(
  { tenantId, sha256, bytes }: Hash & { readonly bytes?: number },
  keepMs: number,
  removingMs: number,
  quotas: TenantQuotas,
): Program<number | null> {
  const now = yield* databaseNow();
  yield* note(tenantId, [sha256], { now, keepMs });
  const noted = yield* rowsOf(sql<{ kind: string; at: number }>`select kind, at from removals
    where tenant_id = ${tenantId} and id = ${sha256} and kind in ('content', 'leaving')`);
  if (noted.some(({ kind, at }) => kind === 'leaving' && at + removingMs > now)) {
    // What is being removed has no note, or a commit would take it for there.
    yield* write(sql`delete from removals where tenant_id = ${tenantId} and kind = 'content' and id = ${sha256}`);
    return null;
  }
  // Its remover was lost, and would stop if it came back.
  yield* write(
    sql`delete from removals where tenant_id = ${tenantId} and kind = 'leaving' and id = ${sha256} and at <= ${now - removingMs}`,
  );
  if (bytes !== undefined) yield* countContent({ tenantId, sha256, bytes }, quotas);
  return Math.max(...noted.flatMap(({ kind, at }) => (kind === 'content' ? [at] : [])));
}

/**
 * Which of these contents may be gone, whatever clocks said meanwhile: nobody noted them, and no file or artifact names them. Until the transaction
 * ends nobody takes the others. The caller holds the count of files, so that nobody takes a file away either.
 */
export function* goneContents(tenant: string, hashes: ReadonlySet<string>): Program<ReadonlySet<string>> {
  const sorted = [...hashes].sort();
  const gone = new Set<string>();
  for (let from = 0; from < sorted.length; from += maxNoted) {
    const some = sorted.slice(from, from + maxNoted);
    const noted = yield* query(({ db, dialect }) =>
      dialect.forUpdate(
        db
          .selectFrom('removals')
          .select('id')
          .where('tenant_id', '=', tenant)
          .where('kind', '=', 'content')
          .where('id', 'in', some)
          .orderBy('id'),
      ),
    );
    const there = new Set(noted.map(({ id }) => id));
    const left = some.filter((hash) => !there.has(hash));
    if (left.length === 0) continue;
    const named = yield* rowsOf(sql<{ id: string }>`with looked(id) as (values ${sql.join(left.map((hash) => sql`(${hash})`))})
      select id from looked where exists (select 1 from files f where f.tenant_id = ${tenant} and f.sha256 = looked.id limit 1)
        or exists (select 1 from artifacts a where a.tenant_id = ${tenant} and a.sha256 = looked.id limit 1)`);
    for (const { id } of named) there.add(id);
    for (const hash of left) if (!there.has(hash)) gone.add(hash);
  }
  return gone;
}

export function* takeContent({ tenantId, kind, id }: Removal, removingMs: number): Program<'taken' | 'kept' | 'busy'> {
  const now = yield* databaseNow();
  if (kind === 'leaving') {
    const again = yield* write(sql`update removals set at = ${now}
      where tenant_id = ${tenantId} and kind = 'leaving' and id = ${id} and at <= ${now - removingMs}`);
    return again > 0 ? 'taken' : 'busy';
  }
  const due = yield* write(sql`delete from removals where tenant_id = ${tenantId} and kind = 'content' and id = ${id} and at <= ${now}`);
  if (due === 0) return 'kept';
  const [named] = yield* rowsOf(sql`select 1 as one where exists (select 1 from files where tenant_id = ${tenantId} and sha256 = ${id})
    or exists (select 1 from artifacts where tenant_id = ${tenantId} and sha256 = ${id})`);
  if (named !== undefined) return 'kept';
  const taken = yield* write(sql`insert into removals (tenant_id, kind, id, at) values (${tenantId}, 'leaving', ${id}, ${now})
    on conflict do nothing`);
  return taken > 0 ? 'taken' : 'busy';
}

export function* countContents(tenant: string, limit: number): Program<Aged> {
  const now = yield* databaseNow();
  const due: RawBuilder<unknown> = sql`select 1 as one from removals t where t.tenant_id = ${tenant} and t.at <= ${now}
    and (t.kind = 'leaving' or t.kind = 'content' and not exists (
      select 1 from files f where f.tenant_id = t.tenant_id and f.sha256 = t.id limit 1 offset 0)
      and not exists (select 1 from artifacts a where a.tenant_id = t.tenant_id and a.sha256 = t.id limit 1 offset 0)) limit ${limit}`;
  const [row] = yield* rowsOf(sql<{ count: number }>`select count(*) as count from (${due}) as due`);
  return { count: row?.count ?? 0, oldest: null };
}
