import type { TenantId } from '@nexus-agent/protocol';
import { type RawBuilder, sql } from 'kysely';
import type { Removal } from '#storage/contract';
import { databaseNow, defineTable, insertMany, type Program, queriesOn, selectMany } from '#storage/program';
import { addUsage, type Booked } from './accounts.ts';
import { idleSession, notEnded } from './aging.ts';
import { noteContents, removals } from './contents.ts';
import { lockCounts, uncount, uncountContent } from './quotas.ts';
import { runs } from './runs.ts';
import { sessions } from './sessions.ts';
import { rowsOf, write } from './statements.ts';

/** Who does a job of which there is one in all processes. */
export const jobs = defineTable('jobs', { name: 'text', owner: 'text', expires_at: 'int' });

const { query } = queriesOn(jobs, removals, runs);

export function* claimJob(name: string, owner: string, ttlMs: number): Program<boolean> {
  const now = yield* databaseNow();
  const changed = yield* write(sql`insert into jobs (name, owner, expires_at) values (${name}, ${owner}, ${now + ttlMs})
    on conflict (name) do update set owner = excluded.owner, expires_at = excluded.expires_at
    where jobs.owner = excluded.owner or jobs.expires_at < ${now} or jobs.expires_at > ${now + 2 * ttlMs}`);
  return changed > 0;
}

export function* releaseJob(name: string, owner: string): Program<void> {
  yield* write(sql`delete from jobs where name = ${name} and owner = ${owner}`);
}

const tenantTables = ['sessions', 'policy_decisions', 'idempotency_keys', 'reservations', 'ledger_entries', 'budgets'];

/** Found by hops over the keys, which begin with the tenant. */
export function* listTenants(): Program<readonly TenantId[]> {
  const found = new Set<string>();
  for (const name of tenantTables) {
    const table = sql.table(name);
    const rows = yield* rowsOf(sql<{ tenant: string | null }>`with recursive found(tenant) as (
        select min(tenant_id) from ${table} union all
        select (select min(t.tenant_id) from ${table} t where t.tenant_id > found.tenant) from found where found.tenant is not null
      ) select tenant from found where tenant is not null`);
    for (const { tenant } of rows) if (tenant !== null) found.add(tenant);
  }
  return [...found].sort() as TenantId[]; // written from branded ids
}

/**
 * Under the lock of the session, so that no run begins or is resumed in it meanwhile. One that has many runs is closed, and goes in pieces
 * of so many of them: a transaction each, the last of which takes the session itself.
 */
export function* removeSession(
  tenant: string,
  session: string,
  { idleBefore, limit }: { readonly idleBefore?: number | undefined; readonly limit: number },
): Program<'removed' | 'more' | 'busy' | 'not_found'> {
  yield* lockCounts(tenant, ['sessions']);
  const [row] = yield* selectMany(sessions, ['session_id', 'created_at'], {
    tenantId: tenant,
    key: 'session_id',
    keys: [session],
    orderBy: ['session_id'],
    lock: true,
  });
  if (row === undefined) return 'not_found';
  if ((yield* rowsOf(atWorkIn(tenant, session))).length > 0) return 'busy';
  if (idleBefore !== undefined) {
    const [idle] = yield* rowsOf(sql`select 1 as one ${idleSession(tenant, idleBefore)} and s.session_id = ${session}`);
    if (idle === undefined) return 'busy';
  }
  const its = yield* lockPiece(tenant, session, limit);
  const last = its.at(-1);
  const ids = its.map(({ run_id }) => run_id);
  const scopes = sql.join([`session:${session}`, ...ids.map((id) => `run:${id}`)]);
  const held = yield* rowsOf(
    sql`select 1 as one from budgets where tenant_id = ${tenant} and reserved <> 0 and scope in (${scopes}) limit 1`,
  );
  if (held.length > 0) return 'busy';
  const now = yield* databaseNow();
  if (last !== undefined) {
    yield* insertMany(
      removals,
      ids.map((id) => ({ tenant_id: tenant, kind: 'run', id, at: now })),
      'ignore',
    );
    yield* write(sql`delete from budgets where tenant_id = ${tenant} and scope in (${sql.join(ids.map((id) => `run:${id}`))})`);
    yield* write(sql`delete from runs where tenant_id = ${tenant} and session_id = ${session}
      and (created_at, run_id) <= (${last.created_at}, ${last.run_id})`);
  }
  if (its.length === limit) {
    yield* write(sql`update sessions set status = 'closed' where tenant_id = ${tenant} and session_id = ${session}`);
    return 'more';
  }
  yield* write(
    sql`insert into removals (tenant_id, kind, id, at) values (${tenant}, 'session', ${session}, ${now}) on conflict do nothing`,
  );
  yield* write(sql`delete from removals where tenant_id = ${tenant} and kind = 'wanted' and id = ${session}`);
  yield* write(sql`delete from budgets where tenant_id = ${tenant} and scope = ${`session:${session}`}`);
  yield* uncount(tenant, 'sessions', yield* write(sql`delete from sessions where tenant_id = ${tenant} and session_id = ${session}`));
  return 'removed';
}

/** A run of the session that has not ended, or one for which something is reserved, if there is any. */
function atWorkIn(tenant: string, session: string): RawBuilder<unknown> {
  return sql`select 1 as one from runs where tenant_id = ${tenant} and session_id = ${session} and status in ${notEnded}
    union all select 1 as one from reservations open join runs r on r.tenant_id = open.tenant_id and r.run_id = open.run_id
      where open.tenant_id = ${tenant} and open.state = 'open' and r.session_id = ${session} limit 1`;
}

/** Its oldest runs. */
function lockPiece(
  tenant: string,
  session: string,
  limit: number,
): Program<readonly { readonly run_id: string; readonly created_at: number }[]> {
  return query(({ db, dialect }) =>
    dialect.forUpdate(
      db
        .selectFrom('runs')
        .select(['run_id', 'created_at'])
        .where('tenant_id', '=', tenant)
        .where('session_id', '=', session)
        .orderBy('created_at')
        .orderBy('run_id')
        .limit(limit),
    ),
  );
}

export function* wantSessionRemoved(tenant: string, session: string): Program<void> {
  const now = yield* databaseNow();
  yield* write(sql`insert into removals (tenant_id, kind, id, at) values (${tenant}, 'wanted', ${session}, ${now}) on conflict do nothing`);
}

export function* listRemovals(before: number, limit: number): Program<readonly Removal[]> {
  const rows = yield* query(({ db }) =>
    db.selectFrom('removals').selectAll().where('at', '<=', before).orderBy('at').orderBy('id').limit(limit),
  );
  return rows.map(({ tenant_id, kind, id }) => ({ tenantId: tenant_id as TenantId, kind: kind as Removal['kind'], id })); // written from these
}

export function* removeSome(removal: Removal, limit: number, keepMs: number): Program<boolean> {
  if (removal.kind !== 'session') return yield* removeSomeOfRun(removal, limit);
  return (yield* removeSomeArtifacts(removal, limit, keepMs)) || (yield* removeSomeFiles(removal, limit, keepMs));
}

/** What names the contents of results. The lock is the one under which commits name contents: none comes after the session is gone. */
function* removeSomeArtifacts({ tenantId, id }: Removal, limit: number, keepMs: number): Program<boolean> {
  yield* lockCounts(tenantId, ['files']);
  const gone = yield* rowsOf(sql<{ sha256: string }>`delete from artifacts where tenant_id = ${tenantId} and artifact_id in (
    select artifact_id from artifacts where tenant_id = ${tenantId} and session_id = ${id} limit ${limit}) returning sha256`);
  yield* noteContents(tenantId, new Set(gone.map(({ sha256 }) => sha256)), keepMs);
  return gone.length > 0;
}

/** What names the contents of files, each of which is then looked at when it is due; a tree goes once nothing of it is left. */
function* removeSomeFiles({ tenantId, id }: Removal, limit: number, keepMs: number): Program<boolean> {
  const trees = yield* rowsOf(
    sql<{ tree: string }>`select tree_id as tree from file_trees where tenant_id = ${tenantId} and session_id = ${id} limit 1`,
  );
  const [found] = trees;
  if (found === undefined) return false;
  const its = sql`tenant_id = ${tenantId} and tree_id = ${found.tree}`;
  yield* lockCounts(tenantId, ['files']);
  const files = yield* rowsOf(sql<{ sha256: string; replaced: number | null }>`delete from files
    where ${its} and (path, version) in (select path, version from files where ${its} limit ${limit}) returning sha256, replaced`);
  yield* uncount(tenantId, 'files', files.filter(({ replaced }) => replaced === null).length);
  yield* noteContents(tenantId, new Set(files.map(({ sha256 }) => sha256)), keepMs);
  if (files.length >= limit) return true;
  const versions = yield* write(
    sql`delete from file_versions where ${its} and version in (select version from file_versions where ${its} limit ${limit})`,
  );
  if (versions < limit) yield* write(sql`delete from file_trees where ${its}`);
  return true;
}

function* removeSomeOfRun({ tenantId, id }: Removal, limit: number): Program<boolean> {
  const events = yield* write(sql`delete from run_events where tenant_id = ${tenantId} and run_id = ${id} and seq in (
    select seq from run_events where tenant_id = ${tenantId} and run_id = ${id} order by seq limit ${limit})`);
  if (events >= limit) return true;
  const approvals = yield* write(sql`delete from approvals where tenant_id = ${tenantId} and approval_id in (
    select approval_id from approvals where tenant_id = ${tenantId} and run_id = ${id} limit ${limit})`);
  if (approvals >= limit) return true;
  const reservations = yield* write(sql`delete from reservations where tenant_id = ${tenantId} and reservation_id in (
    select reservation_id from reservations where tenant_id = ${tenantId} and run_id = ${id} and state <> 'open' limit ${limit})`);
  return reservations >= limit;
}

export function* endRemoval({ tenantId, kind, id }: Removal): Program<void> {
  if (kind === 'leaving') yield* uncountContent(tenantId, id);
  yield* write(sql`delete from removals where tenant_id = ${tenantId} and kind = ${kind} and id = ${id}`);
}

/**
 * Entries are marked and added in one transaction; of two that do so at once, one finds them marked. They are found by their key (`+ 0`
 * keeps the other index out), and looked at again once they are locked.
 */
export function* foldEntries(tenant: string, day: string, limit: number): Program<number> {
  const entries = yield* rowsOf(sql<Booked>`update ledger_entries set folded = 1
    where tenant_id = ${tenant} and folded + 0 = 0 and (at, entry_id) in (
      select at, entry_id from ledger_entries where tenant_id = ${tenant} and folded = 0 and day < ${day} order by day limit ${limit})
    returning day, user_name, project, agent, model, cost_micro_usd, tokens, tool_calls, wall_ms`);
  if (entries.length > 0) yield* addUsage(tenant, entries);
  return entries.length;
}

export function* pruneWorkers(before: number, limit: number): Program<number> {
  return yield* write(sql`delete from workers where worker_id in (
    select w.worker_id from workers w where w.expires_at < ${before}
    and not exists (select 1 from runs r where r.lease_owner = w.worker_id) limit ${limit})`);
}
