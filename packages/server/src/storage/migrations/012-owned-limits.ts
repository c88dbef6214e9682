import type { Migration } from './migration.ts';

/** A limit that an owner set is theirs: a tenant's own keys neither raise it nor take it away. */
export const ownedLimits: Migration = {
  version: 12,
  name: 'owned_limits',
  statements: () => ['alter table budgets add column owned integer not null default 0'],
};
