/** What goes by its age. It is looked through in pieces, in the order of an index: however much of it stays, no statement passes over it all. */
import { dictionary, type SessionId } from '@nexus-agent/protocol';
import { type RawBuilder, sql } from 'kysely';
import type { AgingKind } from '#storage/contract';
import type { Program } from '#storage/program';
import { lockCounts, uncount } from './quotas.ts';
import { rowsOf, write } from './statements.ts';

/** As the indexes of what is at work, and of what has ended, say it. */
export const notEnded = sql.raw("('queued', 'running', 'waiting')");
const hasEnded = sql.raw("('completed', 'failed', 'cancelled')");

/** Keeps Postgres from reading the whole table once instead of looking it up for each row: it plans for more rows than a piece has. */
const looked = sql.raw('limit 1 offset 0');

/** Sessions in which nothing has happened since then: looked up in three indexes, however many runs a session has. */
export function idleSession(tenant: string | RawBuilder<unknown>, before: number): RawBuilder<unknown> {
  const its = sql`r.tenant_id = s.tenant_id and r.session_id = s.session_id`;
  return sql`from sessions s where s.tenant_id = ${tenant} and s.created_at < ${before}
    and not exists (select 1 from runs r where ${its} and r.status in ${notEnded} ${looked})
    and not exists (select 1 from runs r where ${its} and r.status in ${hasEnded} and r.updated_at >= ${before} ${looked})
    and not exists (select 1 from runs r where ${its} and r.created_at >= ${before} ${looked})`;
}

export interface LookedSession {
  readonly created_at: number;
  readonly session_id: SessionId;
  readonly goes: 0 | 1;
}

/** Old sessions, oldest first, and whether they are idle. */
export function* lookAtSessions(
  tenant: string,
  before: number,
  { after, limit }: { readonly after: Pick<LookedSession, 'created_at' | 'session_id'> | null; readonly limit: number },
): Program<readonly LookedSession[]> {
  const beyond = after === null ? sql`1 = 1` : sql`(o.created_at, o.session_id) > (${after.created_at}, ${after.session_id})`;
  return yield* rowsOf(sql<LookedSession>`select o.created_at, o.session_id,
      case when exists (select 1 ${idleSession(sql.ref('o.tenant_id'), before)} and s.session_id = o.session_id ${looked}) then 1 else 0 end as goes
    from sessions o where o.tenant_id = ${tenant} and o.created_at < ${before} and ${beyond}
    order by o.created_at, o.session_id limit ${limit}`);
}

interface Aging {
  readonly table: string;
  /** In the order of an index that begins with the tenant. */
  readonly key: readonly string[];
  /** Milliseconds since 1970. */
  readonly at: string | null;
  /** A range of that index. */
  readonly old: (before: number) => RawBuilder<unknown>;
  /** What of it goes. */
  readonly goes: (before: number) => RawBuilder<unknown>;
  /** What will go when its turn comes, where other things go first. */
  readonly soon?: (idleBefore: number | null) => RawBuilder<unknown>;
}

const ended = sql`(t.run_id is null or not exists (
  select 1 from runs r where r.tenant_id = t.tenant_id and r.run_id = t.run_id and r.status in ${notEnded} ${looked}))`;
const always = sql`1 = 1`;

const aging: Readonly<Record<AgingKind, Aging>> = dictionary({
  decisions: {
    table: 'policy_decisions',
    key: ['at', 'decision_id'],
    at: 'at',
    old: (before) => sql`t.at < ${before}`,
    goes: () => ended,
  },
  idempotencyKeys: {
    table: 'idempotency_keys',
    key: ['created_at', 'claim_key'],
    at: 'created_at',
    old: (before) => sql`t.created_at < ${before}`,
    goes: () => always,
  },
  reservations: {
    table: 'reservations',
    key: ['closed_at', 'reservation_id'],
    at: 'closed_at',
    old: (before) => sql`t.closed_at < ${before}`,
    goes: () => sql`t.state <> 'open' and ${ended}`,
  },
  // What a run has booked is counted from its entries as long as it is there, and what its session booked without one likewise.
  ledgerEntries: {
    table: 'ledger_entries',
    key: ['at', 'entry_id'],
    at: 'at',
    old: (before) => sql`t.at < ${before}`,
    goes: () => sql`t.folded = 1 and not exists (
      select 1 from runs r where r.tenant_id = t.tenant_id and r.run_id = t.run_id ${looked}) and (t.run_id is not null or not exists (
      select 1 from sessions s where s.tenant_id = t.tenant_id and s.session_id = t.session_id ${looked}))`,
    soon: entriesSoonOld,
  },
  // Balances of users under the limit of every user: they begin again with what was spent, whenever that is needed.
  idleBalances: {
    table: 'budgets',
    key: ['scope', 'unit', 'budget_window'],
    at: null,
    old: () => sql`t.inherited = 1`,
    goes: (before) => {
      const day = new Date(before).toISOString().slice(0, 10);
      return sql`t.scope like 'user:%' and t.reserved = 0 and not exists (
        select 1 from usage_days d where d.tenant_id = t.tenant_id and d.dimension = 'user' and d.name = substr(t.scope, 6)
        and d.day >= ${day} ${looked}) and not exists (
        select 1 from ledger_entries e where e.tenant_id = t.tenant_id and e.user_name = substr(t.scope, 6)
        and e.day >= ${day} and e.folded = 0 ${looked})`;
    },
  },
});

type Place = Readonly<Record<string, unknown>>;

/** The rows of the index after a place of it, up to `last`. */
function between(tenant: string, { key, old }: Aging, before: number, { after, last }: { after: Place | null; last?: Place }) {
  const columns = sql.join(key.map((name) => sql.ref(`t.${name}`)));
  const at = (place: Place) => sql.join(key.map((name) => sql`${place[name]}`));
  return sql`t.tenant_id = ${tenant} and ${old(before)} and ${after === null ? always : sql`(${columns}) > (${at(after)})`}
    and ${last === undefined ? always : sql`(${columns}) <= (${at(last)})`}`;
}

export interface PruneStep {
  readonly before: number;
  readonly limit: number;
  /** As the step before answered. */
  readonly after?: string | undefined;
}

/** Looks through up to `limit` of what is old; `next` is null at the end. */
export function* prune(
  tenant: string,
  kind: AgingKind,
  { before, limit, after }: PruneStep,
): Program<{ readonly gone: number; readonly next: string | null }> {
  const of = aging[kind];
  const from = after === undefined ? null : (JSON.parse(after) as Place); // written below
  const [table, order] = [sql.table(of.table), sql.join(of.key.map((name) => sql.ref(`t.${name}`)))];
  if (kind === 'idempotencyKeys') yield* lockCounts(tenant, [kind]);
  const looked = yield* rowsOf(
    sql<Place>`select ${order} from ${table} t where ${between(tenant, of, before, { after: from })} order by ${order} limit ${limit}`,
  );
  const last = looked.at(-1);
  if (last === undefined) return { gone: 0, next: null };
  const gone = yield* write(
    sql`delete from ${table} as t where ${between(tenant, of, before, { after: from, last })} and ${of.goes(before)}`,
  );
  if (kind === 'idempotencyKeys') yield* uncount(tenant, kind, gone);
  return { gone, next: looked.length < limit ? null : JSON.stringify(last) };
}

export type LookedAged = Place & { readonly found_at: number | null; readonly goes: 0 | 1 };

/** What is old, in the order of its index, and whether it will go. */
export function* lookAtAged(
  tenant: string,
  kind: AgingKind,
  { before, idleBefore }: { readonly before: number; readonly idleBefore: number | null },
  { after, limit }: { readonly after: LookedAged | null; readonly limit: number },
): Program<readonly LookedAged[]> {
  const of = aging[kind];
  const order = sql.join(of.key.map((name) => sql.ref(`t.${name}`)));
  const time = of.at === null ? sql`cast(null as bigint)` : sql.ref(`t.${of.at}`);
  const goes = of.soon?.(idleBefore) ?? of.goes(before);
  return yield* rowsOf(sql<LookedAged>`select ${order}, ${time} as found_at, case when ${goes} then 1 else 0 end as goes
    from ${sql.table(of.table)} t where ${between(tenant, of, before, { after })} order by ${order} limit ${limit}`);
}

/** Entries whose run is gone, or their session where they have none; or in a session that goes first. */
function entriesSoonOld(idleBefore: number | null): RawBuilder<unknown> {
  const goes = (sessionId: string) =>
    idleBefore === null
      ? sql`1 = 0`
      : sql`exists (select 1 ${idleSession(sql.ref('t.tenant_id'), idleBefore)} and s.session_id = ${sql.ref(sessionId)} ${looked})`;
  return sql`not exists (
    select 1 from runs r where r.tenant_id = t.tenant_id and r.run_id = t.run_id and not ${goes('r.session_id')} ${looked})
    and (t.run_id is not null or not exists (
    select 1 from sessions own where own.tenant_id = t.tenant_id and own.session_id = t.session_id and not ${goes('own.session_id')} ${looked}))`;
}
