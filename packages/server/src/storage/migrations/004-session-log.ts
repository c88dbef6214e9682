import type { Migration } from './migration.ts';

/** The log of a session has the runs that people started, and may be looked at behind many runs of sub-agents. */
export const sessionLog: Migration = {
  version: 4,
  name: 'session_log',
  statements: () => [
    'create index runs_log on runs (tenant_id, session_id, created_at, run_id) where parent_run_id is null',
    // As small as the work at hand, however long a session is.
    "create index runs_open on runs (tenant_id, session_id) where status in ('queued', 'running', 'waiting')",
  ],
};
