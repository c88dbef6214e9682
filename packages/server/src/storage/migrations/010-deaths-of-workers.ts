import type { Migration } from './migration.ts';

/**
 * How often the worker of a run died since something of the run came to last, and whether it is, or was, driven alone: what kills its
 * process does so a bounded number of times.
 */
export const deathsOfWorkers: Migration = {
  version: 10,
  name: 'deaths_of_workers',
  statements: () => [
    'alter table runs add column deaths integer not null default 0',
    'alter table runs add column alone integer not null default 0',
    'create index runs_suspect on runs (due_at) where deaths >= 2 and due_at is not null',
  ],
};
