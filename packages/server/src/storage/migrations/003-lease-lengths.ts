import type { Migration } from './migration.ts';

/**
 * How long a worker's lease is, so that one that ends later than it can is seen to be wrong. 0 for workers of an earlier version, of
 * which nothing is known.
 */
export const leaseLengths: Migration = {
  version: 3,
  name: 'lease_lengths',
  statements: () => ['alter table workers add column lease_ms bigint not null default 0'],
};
