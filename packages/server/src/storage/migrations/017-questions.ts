import type { Migration } from './migration.ts';

/** Beside what people are asked lie results that clients are to give: no list of questions passes over them, and no count counts them. */
export const questionIndexes: Migration = {
  version: 17,
  name: 'questions',
  statements: () => [
    'drop index approvals_status',
    "create index approvals_status on approvals (tenant_id, status, created_at, approval_id) where kind <> 'client_result'",
    'drop index approvals_created',
    "create index approvals_created on approvals (tenant_id, created_at, approval_id) where kind <> 'client_result'",
    'drop index approvals_pending',
    "create index approvals_pending on approvals (tenant_id, approval_id) where status = 'pending' and kind <> 'client_result'",
  ],
};
