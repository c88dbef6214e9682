import type { Migration } from './migration.ts';

/**
 * What is booked is found by whom it is for and by the day on which it counts, and the sums of days that are over are kept without
 * their entries. Runs say who they are for; users may be under the limit of every user.
 */
export const usageAndRetention: Migration = {
  version: 8,
  name: 'usage_and_retention',
  statements: ({ text, clustered, numberIn, dayOf }) => [
    `alter table runs add column user_name ${text}`,
    `alter table runs add column project ${text}`,
    'alter table budgets add column inherited integer not null default 0',
    `alter table reservations add column subject ${text}`,
    ...['session_id', 'user_name', 'project', 'agent', 'model'].map((name) => `alter table ledger_entries add column ${name} ${text}`),
    `alter table ledger_entries add column day ${text} not null default ''`,
    ...units.map(([name]) => `alter table ledger_entries add column ${name} bigint not null default 0`),
    'alter table ledger_entries add column folded integer not null default 0',
    `update ledger_entries set day = ${dayOf('at')}, ${units.map(([name, key]) => `${name} = ${numberIn('amounts', key)}`).join(', ')}`,
    `update ledger_entries set
      session_id = (select r.session_id from runs r where r.tenant_id = ledger_entries.tenant_id and r.run_id = ledger_entries.run_id),
      agent = (select r.agent from runs r where r.tenant_id = ledger_entries.tenant_id and r.run_id = ledger_entries.run_id)`,
    ...['user_name', 'project'].map(
      (name) => `update ledger_entries set ${name} = (select s.${name} from sessions s
        where s.tenant_id = ledger_entries.tenant_id and s.session_id = ledger_entries.session_id)`,
    ),
    'alter table ledger_entries drop column amounts',
    // As small as what is not folded into its day yet.
    'create index ledger_entries_unfolded on ledger_entries (tenant_id, day) where folded = 0',
    'create index ledger_entries_session on ledger_entries (tenant_id, session_id) where run_id is null',
    `create table ledger_days (
      tenant_id ${text} not null, day ${text} not null, user_name ${text} not null, project ${text} not null,
      agent ${text} not null, model ${text} not null, settlements bigint not null,
      ${units.map(([name]) => `${name} bigint not null`).join(', ')},
      primary key (tenant_id, day, user_name, project, agent, model)
    )${clustered}`,
    `create table jobs (name ${text} not null primary key, owner ${text} not null, expires_at bigint not null)`,
    `create table removals (
      tenant_id ${text} not null, kind ${text} not null, id ${text} not null, at bigint not null, primary key (tenant_id, kind, id)
    )`,
    'create index removals_at on removals (at, id)',
    'create index idempotency_keys_created on idempotency_keys (tenant_id, created_at)',
    'create index reservations_closed on reservations (tenant_id, closed_at) where closed_at is not null',
    // Of what people have limited, however many runs and sessions have budgets of their own.
    "create index budgets_shared on budgets (tenant_id, scope) where limit_amount is not null and substr(scope, 1, 4) not in ('run:', 'sess')",
    "create index approvals_pending on approvals (tenant_id, approval_id) where status = 'pending'",
    'create index budgets_inherited on budgets (tenant_id, scope) where inherited = 1',
    ...['user_name', 'project', 'agent'].map((name) => `create index ledger_days_${name} on ledger_days (tenant_id, ${name}, day)`),
  ],
};

const units = [
  ['cost_micro_usd', 'costMicroUsd'],
  ['tokens', 'tokens'],
  ['tool_calls', 'toolCalls'],
  ['wall_ms', 'wallMs'],
] as const;
