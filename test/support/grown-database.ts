import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type RunId, type SessionId, TenantId } from '@nexus-agent/protocol';
import pg from 'pg';
import type { DatabaseLocation } from './stores.ts';

/** What a database that has been used for long holds, so much of each for each run. */
const perRun = { events: 10, entries: 4, decisions: 4, reservations: 2 } as const;

/** The tenant that has four fifths of everything; the others are 200 small ones. */
export const huge = TenantId.parse('huge');
/** A session of the huge tenant that has a twentieth of all runs, and one of its runs. */
export const longSession = 'ses_100000000' as SessionId;
export const longSessionRun = 'run_100000020' as RunId;
/** A run that waits for a person, with its question. */
export const waitingRun = 'run_100000001' as RunId;
export const waitingApproval = 'apr_100000001';

const dayMs = 86_400_000;

/**
 * Statements that fill a database whose schema is there, in both dialects: runs of 90 days in many states, a session for five of them and
 * one for very many, what they booked and what was decided, balances, questions, files.
 */
function growth(runs: number, nowMs: number, largest: string): readonly string[] {
  const series = (count: number, insert: string) =>
    `with recursive n(i) as (select 0 union all select i + 1 from n where i < ${count - 1}) ${insert} from n`;
  const begin = nowMs - 90 * dayMs;
  const every = Math.floor((90 * dayMs) / runs);
  const at = (run: string) => `${begin} + cast(${run} as bigint) * ${every}`;
  const id = (prefix: string, number: string) => `'${prefix}_' || (100000000 + ${number})`;
  const sessionOf = (run: string) => `(case when ${run} % 20 = 0 then 0 else ${run} / 5 + 1 end)`;
  const tenantOf = (session: string) => `(case when ${session} % 10 < 8 then '${largest}' else 'small-' || (${session} % 200) end)`;
  const userOf = (session: string) => `'user-' || (${session} % 3000)`;
  const statusOf = (run: string) => `(case when ${run} % 400 = 1 then 'waiting' when ${run} % 400 = 2 then 'queued'
    when ${run} % 50 = 3 then 'failed' when ${run} % 50 = 4 then 'cancelled' else 'completed' end)`;
  const isOpen = (run: string) => `(${run} % 400 in (1, 2))`;
  const day = (run: string) => `'2026-' || (10 + ${run} * 2 / ${runs}) || '-' || (10 + ${run} % 20)`;
  const [run, session] = ['i', sessionOf('i')];
  const of = (each: number) => ({ run: `(i / ${each})`, session: sessionOf(`(i / ${each})`) });
  const [event, entry, decided, held] = [of(perRun.events), of(perRun.entries), of(perRun.decisions), of(perRun.reservations)];
  return [
    series(
      Math.floor(runs / 5) + 2,
      `insert into sessions (tenant_id, session_id, status, agent, agent_version, user_name, created_at)
        select ${tenantOf('i')}, ${id('ses', 'i')}, case when i % 3 = 0 then 'closed' else 'active' end, 'helper', 'agv_' || (i % 5), ${userOf('i')},
        ${at('i * 5')}`,
    ),
    series(
      runs,
      `insert into runs (tenant_id, run_id, session_id, agent, agent_version, parent_run_id, status, step, last_seq, totals, output, resumable,
        epoch, lease_owner, due_at, woken, user_name, created_at, updated_at)
        select ${tenantOf(session)}, ${id('run', run)}, ${id('ses', session)}, 'helper', 'agv_' || (i % 5),
        case when i % 7 = 6 and i % 20 <> 0 and (i - 1) % 20 <> 0 and i / 5 = (i - 1) / 5 then ${id('run', '(i - 1)')} end, ${statusOf(run)}, 2,
        ${perRun.events}, '{"inputTokens":10,"outputTokens":5,"costMicroUsd":100,"modelCalls":1,"toolCalls":0}',
        case when ${isOpen(run)} then null else '"what came of it"' end, case when i % 50 = 3 then 1 else 0 end,
        1, null, case when i % 400 = 1 then ${nowMs + 30 * dayMs} end, 0, ${userOf(session)}, ${at(run)}, ${at(run)} + 5000`,
    ),
    series(
      runs * perRun.events,
      `insert into run_events (tenant_id, run_id, seq, type, at, data)
        select ${tenantOf(event.session)}, ${id('run', event.run)}, i % ${perRun.events} + 1, 'tool.output', ${at(event.run)},
        '{"callId":"call_1","text":"some output of a tool, as long as a line of text usually is, and a bit longer"}'`,
    ),
    series(
      runs * perRun.entries,
      `insert into ledger_entries (tenant_id, entry_id, kind, reservation_id, run_id, session_id, user_name, agent, model, day, cost_micro_usd,
        tokens, tool_calls, wall_ms, budget_rows, folded, at)
        select ${tenantOf(entry.session)}, ${id('led', 'i')}, 'settled', ${id('res', 'i')}, ${id('run', entry.run)}, ${id('ses', entry.session)},
        ${userOf(entry.session)}, 'helper', 'sim/m' || (i % 3), ${day(entry.run)}, 25, 4, 0, 10, '[]', 1, ${at(entry.run)}`,
    ),
    series(
      runs * perRun.decisions,
      `insert into policy_decisions (tenant_id, decision_id, run_id, call_id, record, at)
        select ${tenantOf(decided.session)}, ${id('dec', 'i')}, ${id('run', decided.run)}, 'call_' || i,
        '{"id":"dec","effect":"allow","action":"tool.execute","resource":"x","reasons":[],"policyVersion":"v","principal":"ada"}', ${at(decided.run)}`,
    ),
    series(
      runs * perRun.reservations,
      `insert into reservations (tenant_id, reservation_id, run_id, state, amounts, budget_rows, expires_at, charged, closed_at, scopes)
        select ${tenantOf(held.session)}, ${id('res', 'i')}, ${id('run', held.run)}, case when i % 1000 = 3 then 'open' else 'settled' end,
        '{"tokens":4}', '[]', ${nowMs + dayMs}, '{"tokens":4}', case when i % 1000 = 3 then null else ${at(held.run)} end, '[]'`,
    ),
    series(
      Math.floor(runs / 20),
      `insert into approvals (tenant_id, approval_id, run_id, session_id, call_id, kind, status, tool_name, input, default_decision, deadline_at,
        created_at)
        select ${tenantOf(sessionOf('(i * 20 + 1)'))}, ${id('apr', '(i * 20 + 1)')}, ${id('run', '(i * 20 + 1)')},
        ${id('ses', sessionOf('(i * 20 + 1)'))}, 'call_1', 'tool_call', case when i % 20 = 0 then 'pending' else 'decided' end, 'mail', '{}', 'deny',
        ${nowMs + dayMs}, ${at('i * 20 + 1')}`,
    ),
    series(
      Math.floor(runs / 5) + 2,
      `insert into budgets (tenant_id, scope, unit, budget_window, period, limit_amount, spent, reserved)
        select ${tenantOf('i')}, 'session:' || ${id('ses', 'i')}, 'costMicroUsd', 'total', '', 1000000, 100, 0`,
    ),
    series(
      Math.floor(runs / 100),
      `insert into budgets (tenant_id, scope, unit, budget_window, period, limit_amount, inherited, spent, reserved)
        select '${largest}', 'user:user-' || i, 'tokens', 'total', '', null, 1, 100, 0`,
    ),
    `insert into budgets (tenant_id, scope, unit, budget_window, period, limit_amount, spent, reserved)
      values ('${largest}', 'user:*', 'tokens', 'total', '', 100000000, 0, 0),
      ('${largest}', 'tenant:${largest}', 'costMicroUsd', 'total', '', 1000000000000, 10, 0)`,
    series(
      Math.floor(runs / 2),
      `insert into idempotency_keys (tenant_id, claim_key, request_hash, resource_id, created_at)
        select ${tenantOf('i')}, 'key-' || i, 'hash', ${id('run', 'i')}, ${at('i * 2')}`,
    ),
    series(
      Math.floor(runs / 10),
      `insert into removals (tenant_id, kind, id, at) select ${tenantOf('i')}, 'content', 'hash-' || i, ${nowMs + dayMs} + i`,
    ),
    series(
      Math.floor(runs / 5),
      `insert into file_trees (tenant_id, tree_id, session_id, version, files, bytes, names)
        select ${tenantOf('(i + 1)')}, ${id('ses', '(i + 1)')}, ${id('ses', '(i + 1)')}, 1, 0, 0, 0`,
    ),
    `insert into file_trees (tenant_id, tree_id, session_id, version, files, bytes, names)
      values ('${largest}', '${longSession}', '${longSession}', 50, 500, 5000, 500)`,
    series(
      Math.floor(runs / 20),
      `insert into files (tenant_id, tree_id, path, version, replaced, sha256, bytes, executable)
        select '${largest}', '${longSession}', 'file-' || (i % 500), i + 1, case when i < ${Math.floor(runs / 20) - 500} then i + 500 end,
        'hash-' || i, 10, 0`,
    ),
    series(
      Math.floor(runs / 20),
      `insert into file_versions (tenant_id, tree_id, version, run_id, call_id, at)
        select '${largest}', '${longSession}', i + 1, ${id('run', '(i * 20)')}, 'call_' || i, ${at('i * 20')}`,
    ),
    series(
      Math.floor(runs / 10),
      `insert into artifacts (tenant_id, artifact_id, session_id, run_id, call_id, tool, media_type, bytes, characters, lines, whole, sha256,
        created_at)
        select ${tenantOf('i')}, 'art_' || i, ${id('ses', 'i')}, ${id('run', 'i')}, 'call_1', 'big', 'text/plain', 10, 10, 1, 1,
        'result-' || i, ${at('i * 10')}`,
    ),
    series(
      2_000,
      `insert into mcp_grants (tenant_id, server, slot, version, sealed, held_until, updated_at)
        select ${tenantOf('i')}, 'server-' || i, 'grant', 'v', 'sealed', null, ${at('i * 10')}`,
    ),
    `insert into contents (tenant_id, sha256, bytes) select distinct tenant_id, sha256, bytes from files`,
    ...['sessions', 'idempotency_keys', 'contents'].map(
      (table) => `insert into tenant_counts (tenant_id, kind, amount)
        select tenant_id, '${table === 'idempotency_keys' ? 'idempotencyKeys' : table}', count(*) from ${table} group by tenant_id`,
    ),
    ...[
      ['tenant', "''"],
      ['user', "coalesce(user_name, '')"],
      ['project', "coalesce(project, '')"],
      ['agent', "coalesce(agent, '')"],
      ['model', "coalesce(model, '')"],
    ].map(
      ([
        dimension,
        name,
      ]) => `insert into usage_days (tenant_id, dimension, day, name, settlements, cost_micro_usd, tokens, tool_calls, wall_ms)
        select tenant_id, '${dimension}', day, ${name}, count(*), sum(cost_micro_usd), sum(tokens), sum(tool_calls), sum(wall_ms)
        from ledger_entries group by tenant_id, day, ${name === "''" ? 'tenant_id' : name}`,
    ),
  ];
}

/** Statements that fill a database with runs that wait for a person for another week, each in a session of its own, with its question; of 200 tenants. */
function waits(runs: number, nowMs: number): readonly string[] {
  const series = (insert: string) =>
    `with recursive n(i) as (select 0 union all select i + 1 from n where i < ${runs - 1}) ${insert} from n`;
  const id = (prefix: string) => `'${prefix}_' || (100000000 + i)`;
  const due = `${nowMs + 7 * dayMs} + i`;
  return [
    series(`insert into sessions (tenant_id, session_id, status, agent, agent_version, created_at)
      select 'small-' || (i % 200), ${id('ses')}, 'active', 'helper', 'agv_1', ${nowMs} - i`),
    series(`insert into runs (tenant_id, run_id, session_id, agent, agent_version, status, step, last_seq, totals, resumable, epoch, due_at, woken,
      created_at, updated_at) select 'small-' || (i % 200), ${id('run')}, ${id('ses')}, 'helper', 'agv_1', 'waiting', 2, 8,
      '{"inputTokens":10,"outputTokens":5,"costMicroUsd":100,"modelCalls":1,"toolCalls":0}', 0, 1, ${due}, 0, ${nowMs} - i, ${nowMs} - i`),
    series(`insert into approvals (tenant_id, approval_id, run_id, session_id, call_id, kind, status, tool_name, input, default_decision,
      deadline_at, created_at) select 'small-' || (i % 200), ${id('apr')}, ${id('run')}, ${id('ses')}, 'call_1', 'tool_call', 'pending', 'mail', '{}',
      'deny', ${due}, ${nowMs} - i`),
    `insert into tenant_counts (tenant_id, kind, amount) select tenant_id, 'sessions', count(*) from sessions group by tenant_id`,
  ];
}

/** Fills a database whose schema is there with runs that wait, as {@link growDatabase} does with many kinds. */
export function fillWaiting(location: DatabaseLocation, runs: number): Promise<void> {
  return fill(location, waits(runs, Date.now()));
}

/** Fills a database whose schema is there. On Postgres its statistics are brought up to date afterwards; the embedded one keeps none. */
export function growDatabase(location: DatabaseLocation, runs: number, largest: string = huge): Promise<void> {
  return fill(location, growth(runs, Date.now(), largest));
}

async function fill({ url, dataDir = '' }: DatabaseLocation, statements: readonly string[]): Promise<void> {
  if (url === undefined) {
    const database = new DatabaseSync(join(dataDir, 'nexus.db'));
    database.exec('pragma synchronous = off; pragma cache_size = -200000; begin');
    for (const sql of statements) database.exec(sql);
    database.exec('commit');
    database.close();
    return;
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('set synchronous_commit = off');
    for (const sql of statements) await client.query(sql);
    await client.query('vacuum analyze');
  } finally {
    await client.end();
  }
}
