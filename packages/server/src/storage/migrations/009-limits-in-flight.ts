import type { Migration } from './migration.ts';

/**
 * A limit that is set later finds the work in flight of its scope; time is held for work that goes on beside other work; and a
 * reservation says how much its work can have used if its holder is lost.
 */
export const limitsInFlight: Migration = {
  version: 9,
  name: 'limits_in_flight',
  statements: ({ text }) => [
    `alter table reservations add column scopes ${text}`,
    'alter table reservations add column wall_until bigint',
    `alter table reservations add column bound ${text}`,
    "create index reservations_in_flight on reservations (tenant_id, reservation_id) where state = 'open'",
    // A user who comes under the limit of every user begins with what they spent today.
    'create index ledger_entries_user on ledger_entries (tenant_id, user_name, day) where folded = 0',
  ],
};
