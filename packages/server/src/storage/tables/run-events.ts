import type { StoredEvent } from '#storage/contract';
import { defineTable, insertMany, type Program, queriesOn, type Row, run } from '#storage/program';

export const runEvents = defineTable('run_events', {
  tenant_id: 'text',
  run_id: 'text',
  seq: 'int',
  type: 'text',
  at: 'int',
  data: 'text',
});
export type EventRow = Row<typeof runEvents>;

function eventFromRow(row: Pick<EventRow, 'seq' | 'type' | 'at' | 'data'>): StoredEvent {
  return { seq: row.seq, type: row.type as StoredEvent['type'], at: row.at, data: row.data };
}

const { statement } = queriesOn(runEvents);

const eventsAfter = statement('events_after', ({ db }, params: { tenant: string; id: string; after: number; limit: number }) =>
  db
    .selectFrom('run_events')
    .select(['seq', 'type', 'at', 'data'])
    .where('tenant_id', '=', params.tenant)
    .where('run_id', '=', params.id)
    .where('seq', '>', params.after)
    .orderBy('seq')
    .limit(params.limit),
);

export function* readEvents(tenant: string, id: string, range: { after: number; limit: number }): Program<readonly StoredEvent[]> {
  const rows = yield* run(eventsAfter, { tenant, id, ...range });
  return rows.map(eventFromRow);
}

export function insertEvents(rows: readonly EventRow[]): Program<number> {
  return insertMany(runEvents, rows);
}
