import { dictionary, type SessionId, type TenantId } from '@nexus-agent/protocol';
import { type RawBuilder, sql } from 'kysely';
import type { Aged, AgingKind, Removal } from '#storage/contract';
import { databaseNow, defineTable, json, type Program, queriesOn, type Row, selectMany } from '#storage/program';
import { ledgerDays } from './accounts.ts';
import { noteContents } from './contents.ts';
import { lockCounts, uncount, uncountContent } from './quotas.ts';
import { ledgerEntries } from './reservations.ts';
import { sessions } from './sessions.ts';
import { rowsOf, write } from './statements.ts';

/** Who does a job of which there is one in all processes. */
export const jobs = defineTable('jobs', { name: 'text', owner: 'text', expires_at: 'int' });
/** What is still to be deleted; see `Removal`. */
export const removals = defineTable('removals', { tenant_id: 'text', kind: 'text', id: 'text', at: 'int' });

const { query } = queriesOn(jobs, removals, ledgerDays, ledgerEntries, sessions);

const live = sql`('queued', 'running', 'waiting')`;

export function* claimJob(name: string, owner: string, ttlMs: number): Program<boolean> {
  const now = yield* databaseNow();
  const changed = yield* write(sql`insert into jobs (name, owner, expires_at) values (${name}, ${owner}, ${now + ttlMs})
    on conflict (name) do update set owner = excluded.owner, expires_at = excluded.expires_at
    where jobs.owner = excluded.owner or jobs.expires_at < ${now}`);
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

function idle(tenant: string | RawBuilder<unknown>, before: number) {
  return sql`from sessions s where s.tenant_id = ${tenant} and s.created_at < ${before} and not exists (
    select 1 from runs r where r.tenant_id = s.tenant_id and r.session_id = s.session_id
    and (r.updated_at >= ${before} or r.created_at >= ${before} or r.status in ${live}))`;
}

export function* listIdleSessions(
  tenant: string,
  before: number,
  { limit, after = '' }: { readonly limit: number; readonly after?: string },
): Program<readonly SessionId[]> {
  const rows = yield* rowsOf(
    sql<{
      session_id: string;
    }>`select s.session_id ${idle(tenant, before)} and s.session_id > ${after} order by s.session_id limit ${limit}`,
  );
  return rows.map((row) => row.session_id as SessionId); // written from a branded id
}

export function* countIdleSessions(tenant: string, before: number, limit: number): Program<Aged> {
  return yield* aged(sql`select s.created_at as at ${idle(tenant, before)} limit ${limit}`);
}

function* aged(found: RawBuilder<unknown>): Program<Aged> {
  const [row] = yield* rowsOf(sql<Aged>`select count(*) as count, min(at) as oldest from (${found}) as found`);
  return { count: row?.count ?? 0, oldest: row?.oldest ?? null };
}

/** Locks the session and all of its runs: none can begin, be resumed or go on meanwhile. */
export function* removeSession(tenant: string, session: string, idleBefore?: number): Program<'removed' | 'busy' | 'not_found'> {
  yield* lockCounts(tenant, ['sessions']);
  const [row] = yield* selectMany(sessions, ['session_id', 'created_at'], {
    tenantId: tenant,
    key: 'session_id',
    keys: [session],
    orderBy: ['session_id'],
    lock: true,
  });
  if (row === undefined) return 'not_found';
  const runs = yield* query(({ db, dialect }) =>
    dialect.forUpdate(
      db
        .withTables<{ runs: { tenant_id: string; session_id: string; run_id: string; status: string; updated_at: number } }>()
        .selectFrom('runs')
        .select(['run_id', 'status', 'updated_at'])
        .where('tenant_id', '=', tenant)
        .where('session_id', '=', session)
        .orderBy('run_id'),
    ),
  );
  if (runs.some(({ status }) => status === 'queued' || status === 'running' || status === 'waiting')) return 'busy';
  if (idleBefore !== undefined && [row.created_at, ...runs.map((run) => run.updated_at)].some((at) => at >= idleBefore)) return 'busy';
  const its = sql`select run_id from runs where tenant_id = ${tenant} and session_id = ${session}`;
  const scopes = sql`(scope = ${`session:${session}`} or scope in (select 'run:' || run_id from (${its}) as its))`;
  const [open] = yield* rowsOf(sql<{ one: number }>`select 1 as one from budgets where tenant_id = ${tenant} and reserved <> 0 and ${scopes}
    union all select 1 as one from reservations where tenant_id = ${tenant} and state = 'open' and run_id in (${its}) limit 1`);
  if (open !== undefined) return 'busy';
  const now = yield* databaseNow();
  yield* write(sql`insert into removals (tenant_id, kind, id, at)
    select tenant_id, 'run', run_id, ${now} from runs where tenant_id = ${tenant} and session_id = ${session} on conflict do nothing`);
  yield* write(
    sql`insert into removals (tenant_id, kind, id, at) values (${tenant}, 'session', ${session}, ${now}) on conflict do nothing`,
  );
  yield* write(sql`delete from removals where tenant_id = ${tenant} and kind = 'wanted' and id = ${session}`);
  yield* write(sql`delete from budgets where tenant_id = ${tenant} and ${scopes}`);
  yield* write(sql`delete from runs where tenant_id = ${tenant} and session_id = ${session}`);
  yield* uncount(tenant, 'sessions', yield* write(sql`delete from sessions where tenant_id = ${tenant} and session_id = ${session}`));
  return 'removed';
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
  return removal.kind === 'session' ? yield* removeSomeFiles(removal, limit, keepMs) : yield* removeSomeOfRun(removal, limit);
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

interface FoldedEntry {
  readonly day: string;
  readonly user_name: string | null;
  readonly project: string | null;
  readonly agent: string | null;
  readonly model: string | null;
  readonly cost_micro_usd: number;
  readonly tokens: number;
  readonly tool_calls: number;
  readonly wall_ms: number;
}

/**
 * Entries are marked and added in one transaction; of two that do so at once, one finds them marked. They are found by their key (`+ 0`
 * keeps the other index out), and looked at again once they are locked.
 */
export function* foldEntries(tenant: string, day: string, limit: number): Program<number> {
  const entries = yield* rowsOf(sql<FoldedEntry>`update ledger_entries set folded = 1
    where tenant_id = ${tenant} and folded + 0 = 0 and (at, entry_id) in (
      select at, entry_id from ledger_entries where tenant_id = ${tenant} and folded = 0 and day < ${day} order by day limit ${limit})
    returning day, user_name, project, agent, model, cost_micro_usd, tokens, tool_calls, wall_ms`);
  if (entries.length > 0) yield* addToDays(tenant, entries);
  return entries.length;
}

function* addToDays(tenant: string, entries: readonly FoldedEntry[]): Program<void> {
  const sums = new Map<string, Row<typeof ledgerDays>>();
  for (const { user_name, project, agent, model, ...entry } of entries) {
    const whose = { user_name: user_name ?? '', project: project ?? '', agent: agent ?? '', model: model ?? '' };
    const key = json([entry.day, ...Object.values(whose)]);
    const sum = sums.get(key);
    sums.set(key, {
      tenant_id: tenant,
      day: entry.day,
      ...whose,
      settlements: (sum?.settlements ?? 0) + 1,
      cost_micro_usd: (sum?.cost_micro_usd ?? 0) + entry.cost_micro_usd,
      tokens: (sum?.tokens ?? 0) + entry.tokens,
      tool_calls: (sum?.tool_calls ?? 0) + entry.tool_calls,
      wall_ms: (sum?.wall_ms ?? 0) + entry.wall_ms,
    });
  }
  // In one order everywhere, so that two transactions never wait for each other in a ring.
  const rows = [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
  const added = ['settlements', 'cost_micro_usd', 'tokens', 'tool_calls', 'wall_ms'] as const;
  yield* query(({ db }) =>
    db
      .insertInto('ledger_days')
      .values(rows)
      .onConflict((conflict) =>
        conflict
          .columns(['tenant_id', 'day', 'user_name', 'project', 'agent', 'model'])
          .doUpdateSet(
            Object.fromEntries(added.map((name) => [name, sql`${sql.ref(`ledger_days.${name}`)} + ${sql.ref(`excluded.${name}`)}`])),
          ),
      )
      .returning('day'),
  );
}

interface Aging {
  readonly table: string;
  readonly key: readonly string[];
  /** Milliseconds since 1970. */
  readonly at: string | null;
  readonly old: (before: number) => RawBuilder<unknown>;
  /** What will be `old` when its turn comes, where other things go first. */
  readonly soon?: (before: number, idleBefore: number | null) => RawBuilder<unknown>;
}

const ended = sql`(t.run_id is null or not exists (
  select 1 from runs r where r.tenant_id = t.tenant_id and r.run_id = t.run_id and r.status in ${live}))`;

const aging: Readonly<Record<AgingKind, Aging>> = dictionary({
  decisions: { table: 'policy_decisions', key: ['at', 'decision_id'], at: 'at', old: (before) => sql`t.at < ${before} and ${ended}` },
  idempotencyKeys: { table: 'idempotency_keys', key: ['claim_key'], at: 'created_at', old: (before) => sql`t.created_at < ${before}` },
  reservations: {
    table: 'reservations',
    key: ['reservation_id'],
    at: 'closed_at',
    old: (before) => sql`t.closed_at < ${before} and t.state <> 'open' and ${ended}`,
  },
  // What a run has booked is counted from its entries as long as it is there, and what its session booked without one likewise.
  ledgerEntries: {
    table: 'ledger_entries',
    key: ['at', 'entry_id'],
    at: 'at',
    old: (before) => sql`t.at < ${before} and t.folded = 1 and not exists (
      select 1 from runs r where r.tenant_id = t.tenant_id and r.run_id = t.run_id) and (t.run_id is not null or not exists (
      select 1 from sessions s where s.tenant_id = t.tenant_id and s.session_id = t.session_id))`,
    soon: entriesSoonOld,
  },
  // Balances of users under the limit of every user: they begin again with what was spent, whenever that is needed.
  idleBalances: {
    table: 'budgets',
    key: ['scope', 'unit', 'budget_window'],
    at: null,
    old: (before) => {
      const day = new Date(before).toISOString().slice(0, 10);
      const use = (table: string) => sql`not exists (
        select 1 from ${sql.table(table)} d where d.tenant_id = t.tenant_id and d.user_name = substr(t.scope, 6) and d.day >= ${day}`;
      return sql`t.scope like 'user:%' and t.inherited = 1 and t.reserved = 0
        and ${use('ledger_days')}) and ${use('ledger_entries')} and d.folded = 0)`;
    },
  },
});

export function* prune(tenant: string, kind: AgingKind, before: number, limit: number): Program<number> {
  const { table, key, old } = aging[kind];
  const columns = sql.raw(key.join(', '));
  if (kind === 'idempotencyKeys') yield* lockCounts(tenant, [kind]);
  const gone = yield* write(sql`delete from ${sql.table(table)} where tenant_id = ${tenant} and (${columns}) in (
    select ${columns} from ${sql.table(table)} t where t.tenant_id = ${tenant} and ${old(before)} limit ${limit})`);
  if (kind === 'idempotencyKeys') yield* uncount(tenant, kind, gone);
  return gone;
}

export function* countAged(
  tenant: string,
  kind: AgingKind,
  { before, idleBefore }: { readonly before: number; readonly idleBefore: number | null },
  limit: number,
): Program<Aged> {
  const { table, at, old, soon = old } = aging[kind];
  const time = at === null ? sql`cast(null as bigint)` : sql.ref(`t.${at}`);
  const found = sql`select ${time} as at from ${sql.table(table)} t where t.tenant_id = ${tenant} and ${soon(before, idleBefore)}`;
  return yield* aged(sql`${found} limit ${limit}`);
}

/** Entries whose run is gone, or their session where they have none; or in a session that goes first. */
function entriesSoonOld(before: number, idleBefore: number | null): RawBuilder<unknown> {
  const goes = (sessionId: string) =>
    idleBefore === null
      ? sql`1 = 0`
      : sql`exists (select 1 ${idle(sql.ref('t.tenant_id'), idleBefore)} and s.session_id = ${sql.ref(sessionId)})`;
  return sql`t.at < ${before} and not exists (
    select 1 from runs r where r.tenant_id = t.tenant_id and r.run_id = t.run_id and not ${goes('r.session_id')})
    and (t.run_id is not null or not exists (
    select 1 from sessions own where own.tenant_id = t.tenant_id and own.session_id = t.session_id and not ${goes('own.session_id')}))`;
}

export function* pruneWorkers(before: number, limit: number): Program<number> {
  return yield* write(sql`delete from workers where worker_id in (
    select w.worker_id from workers w where w.expires_at < ${before}
    and not exists (select 1 from runs r where r.lease_owner = w.worker_id) limit ${limit})`);
}
