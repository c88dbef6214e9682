import type { Migration } from './migration.ts';

export const initial: Migration = {
  version: 1,
  name: 'initial',
  statements: ({ text, clustered }) => [
    `create table tenants (
      tenant_id ${text} not null primary key, name ${text} not null, created_at bigint not null
    )`,
    `create table api_keys (
      tenant_id ${text} not null, key_id ${text} not null, name ${text} not null, hash ${text} not null,
      scopes ${text} not null, created_at bigint not null, expires_at bigint, revoked_at bigint,
      primary key (tenant_id, key_id)
    )`,
    // A request carries the key before its tenant is known.
    'create unique index api_keys_key_id on api_keys (key_id)',
    `create table agents (
      tenant_id ${text} not null, name ${text} not null, current_version ${text} not null, primary key (tenant_id, name)
    )`,
    `create table agent_versions (
      tenant_id ${text} not null, name ${text} not null, version ${text} not null, source ${text} not null,
      definition ${text} not null, created_at bigint not null, primary key (tenant_id, name, version)
    )`,
    `create table sessions (
      tenant_id ${text} not null, session_id ${text} not null, status ${text} not null, agent ${text} not null,
      agent_version ${text} not null, policy ${text}, user_name ${text}, project ${text}, metadata ${text},
      created_at bigint not null, primary key (tenant_id, session_id)
    )`,
    'create index sessions_created on sessions (tenant_id, created_at, session_id)',
    `create table runs (
      tenant_id ${text} not null, run_id ${text} not null, session_id ${text} not null, agent ${text} not null,
      agent_version ${text} not null, model ${text}, parent_run_id ${text}, status ${text} not null, waiting ${text},
      step integer not null, last_seq integer not null, totals ${text} not null, output ${text}, error ${text},
      resumable integer not null, epoch integer not null, lease_owner ${text}, due_at bigint, woken integer not null,
      cancel_requested ${text}, budget ${text}, trace_id ${text}, created_at bigint not null, updated_at bigint not null,
      primary key (tenant_id, run_id)
    )`,
    'create index runs_created on runs (tenant_id, created_at, run_id)',
    'create index runs_session on runs (tenant_id, session_id, created_at, run_id)',
    'create index runs_parent on runs (tenant_id, parent_run_id) where parent_run_id is not null',
    // Finished runs have neither a due time nor an owner, so these stay as small as the work at hand.
    'create index runs_due on runs (due_at) where due_at is not null',
    'create index runs_lease on runs (lease_owner) where lease_owner is not null',
    'create index runs_cancel on runs (lease_owner) where cancel_requested is not null and lease_owner is not null',
    `create table run_events (
      tenant_id ${text} not null, run_id ${text} not null, seq integer not null, type ${text} not null,
      at bigint not null, data ${text} not null, primary key (tenant_id, run_id, seq)
    )${clustered}`,
    `create table approvals (
      tenant_id ${text} not null, approval_id ${text} not null, run_id ${text} not null, session_id ${text} not null,
      call_id ${text} not null, kind ${text} not null, status ${text} not null, tool_name ${text} not null,
      input ${text} not null, question ${text}, role ${text}, default_decision ${text} not null,
      deadline_at bigint not null, decision ${text}, answer ${text}, decided_by ${text}, decided_at bigint,
      created_at bigint not null, primary key (tenant_id, approval_id)
    )`,
    'create index approvals_status on approvals (tenant_id, status, created_at, approval_id)',
    'create index approvals_run on approvals (tenant_id, run_id)',
    `create table budgets (
      tenant_id ${text} not null, scope ${text} not null, unit ${text} not null, budget_window ${text} not null,
      period ${text} not null, limit_amount bigint, spent bigint not null, reserved bigint not null,
      primary key (tenant_id, scope, unit, budget_window)
    )${clustered}`,
    `create table reservations (
      tenant_id ${text} not null, reservation_id ${text} not null, run_id ${text}, state ${text} not null,
      dispatched integer not null, amounts ${text} not null, budget_rows ${text} not null, granted_tokens bigint,
      granted_wall_ms bigint, expires_at bigint not null, charged ${text}, closed_at bigint, expired integer not null,
      primary key (tenant_id, reservation_id)
    )${clustered}`,
    'create index reservations_run on reservations (tenant_id, run_id)',
    "create index reservations_open on reservations (expires_at) where state = 'open'",
    `create table ledger_entries (
      tenant_id ${text} not null, entry_id ${text} not null, kind ${text} not null, reservation_id ${text} not null,
      run_id ${text}, amounts ${text} not null, budget_rows ${text} not null, at bigint not null,
      primary key (tenant_id, at, entry_id)
    )${clustered}`,
    'create index ledger_entries_run on ledger_entries (tenant_id, run_id)',
    `create table policy_decisions (
      tenant_id ${text} not null, decision_id ${text} not null, run_id ${text}, call_id ${text}, arguments_hash ${text},
      record ${text} not null, at bigint not null, primary key (tenant_id, at, decision_id)
    )${clustered}`,
    'create index policy_decisions_run on policy_decisions (tenant_id, run_id)',
    `create table idempotency_keys (
      tenant_id ${text} not null, claim_key ${text} not null, request_hash ${text} not null, resource_id ${text} not null,
      created_at bigint not null, primary key (tenant_id, claim_key)
    )${clustered}`,
    `create table workers (worker_id ${text} not null primary key, expires_at bigint not null)`,
  ],
};
