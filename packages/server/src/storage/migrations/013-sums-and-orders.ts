import type { Migration } from './migration.ts';

/**
 * What was booked is kept as sums of days, by each thing that is asked for, in the transaction that books it. And each list has an index
 * that serves its filter and its order: none is sorted, and none passes over rows that are not in it, however many there are.
 */
export const sumsAndOrders: Migration = {
  version: 13,
  name: 'sums_and_orders',
  statements: ({ text, clustered }) => [
    `create table usage_days (
      tenant_id ${text} not null, dimension ${text} not null, day ${text} not null, name ${text} not null,
      settlements bigint not null, ${amounts.map((name) => `${name} bigint not null`).join(', ')},
      primary key (tenant_id, dimension, day, name)
    )${clustered}`,
    'create index usage_days_name on usage_days (tenant_id, dimension, name, day)',
    ...['tenant', 'user', 'project', 'agent', 'model'].map((dimension) => {
      const name = dimension === 'tenant' ? "''" : dimension === 'user' ? 'user_name' : dimension;
      const sums = ['settlements', ...amounts];
      return `insert into usage_days (tenant_id, dimension, day, name, ${sums.join(', ')})
        select tenant_id, '${dimension}', day, ${name}, ${sums.map((sum) => `sum(${sum})`).join(', ')}
        from ledger_days group by tenant_id, day${dimension === 'tenant' ? '' : `, ${name}`}`;
    }),
    'drop table ledger_days',
    // What is not in the sums was booked by an earlier version; it is added bit by bit.
    'create index runs_status on runs (tenant_id, status, created_at, run_id)',
    'create index runs_children on runs (tenant_id, parent_run_id, created_at, run_id) where parent_run_id is not null',
    'drop index runs_parent',
    'create index runs_agent on runs (tenant_id, agent, agent_version)',
    'create index sessions_agent on sessions (tenant_id, agent, agent_version)',
    // Written as a run ends: what a session had, of a state, and since when.
    `create index runs_ended on runs (tenant_id, session_id, updated_at) where status in ${ended}`,
    `create index runs_session_ended on runs (tenant_id, session_id, status, created_at, run_id) where status in ${ended}`,
    // Counted without a look at the runs themselves.
    "create index runs_live on runs (status) where status in ('queued', 'running', 'waiting')",
    "create index runs_due_queued on runs (due_at) where due_at is not null and status = 'queued'",
    'create index policy_decisions_of_run on policy_decisions (tenant_id, run_id, at, decision_id)',
    'drop index policy_decisions_run',
    'create index ledger_entries_of_run on ledger_entries (tenant_id, run_id, at, entry_id)',
    'drop index ledger_entries_run',
    'create index approvals_of_run on approvals (tenant_id, run_id, created_at, approval_id)',
    'drop index approvals_run',
    'create index approvals_created on approvals (tenant_id, created_at, approval_id)',
    "create index approvals_open on approvals (tenant_id, session_id, run_id) where status = 'pending'",
    'create index api_keys_created on api_keys (tenant_id, created_at, key_id)',
    'create index reservations_of_run on reservations (tenant_id, run_id, reservation_id)',
    'drop index reservations_run',
    'create index removals_due on removals (tenant_id, at)',
  ],
};

const amounts = ['cost_micro_usd', 'tokens', 'tool_calls', 'wall_ms'] as const;
const ended = "('completed', 'failed', 'cancelled')";
