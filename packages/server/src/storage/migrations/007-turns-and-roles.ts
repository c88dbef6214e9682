import type { Migration } from './migration.ts';

/** What lets tenants take turns in the queue and busy processes leave work to others; and the roles of those who answer approvals. */
export const turnsAndRoles: Migration = {
  version: 7,
  name: 'turns_and_roles',
  statements: () => [
    // The next tenant with work and its oldest work are each one step in these, however much any tenant has waiting.
    'create index runs_due_tenant on runs (tenant_id, due_at) where due_at is not null',
    'drop index runs_lease',
    'create index runs_lease_tenant on runs (lease_owner, tenant_id) where lease_owner is not null',
    'alter table workers add column live_runs integer not null default 0',
    "alter table api_keys add column roles text not null default '[]'",
  ],
};
