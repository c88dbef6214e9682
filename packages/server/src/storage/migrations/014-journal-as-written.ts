import type { Migration } from './migration.ts';

/**
 * SQLite keeps the events of all runs in the order in which they were written, with the key beside them. In the order of the key each run
 * that goes on had a last page of its own, which every commit wrote anew, and the pages above them held whole events, so that there were many
 * of those. Postgres keeps its rows like that already.
 */
export const journalAsWritten: Migration = {
  version: 14,
  name: 'journal_as_written',
  statements: ({ text, clustered }) =>
    clustered === ''
      ? []
      : [
          `create table events_as_written (
            tenant_id ${text} not null, run_id ${text} not null, seq integer not null, type ${text} not null,
            at bigint not null, data ${text} not null, primary key (tenant_id, run_id, seq)
          )`,
          `insert into events_as_written (tenant_id, run_id, seq, type, at, data)
            select tenant_id, run_id, seq, type, at, data from run_events order by tenant_id, run_id, seq`,
          'drop table run_events',
          'alter table events_as_written rename to run_events',
        ],
};
