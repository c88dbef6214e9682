import { sql } from 'kysely';
import type { SizedEvent, StoredEvent } from '#storage/contract';
import { defineTable, insertMany, type Program, queriesOn, type Row, run } from '#storage/program';
import { rowsOf } from './statements.ts';

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

interface SizedRow extends Pick<EventRow, 'seq' | 'type' | 'at' | 'data'> {
  readonly chars: number;
}

const eventsWithin = statement(
  'events_within',
  ({ db }, { tenant, id, after, limit, maxChars }: { tenant: string; id: string; after: number; limit: number; maxChars: number }) => ({
    compile: () =>
      sql<SizedRow>`
    select seq, type, at, chars, case when chars > ${maxChars} then '' else (
      select data from run_events where tenant_id = ${tenant} and run_id = ${id} and run_events.seq = sized.seq
    ) end as data
    from (
      select seq, type, at, chars, sum(chars) over (order by seq) as total
      from (
        select seq, type, at, octet_length(data) as chars from run_events
        where tenant_id = ${tenant} and run_id = ${id} and seq > ${after} order by seq limit ${limit}
      ) as page
    ) as sized
    where total - chars < ${maxChars} order by seq`.compile(db),
  }),
);

/** The same for one event, which needs no sum. */
const nextWithin = statement(
  'next_within',
  ({ db }, { tenant, id, after, maxChars }: { tenant: string; id: string; after: number; maxChars: number }) => ({
    compile: () =>
      sql<SizedRow>`
    select seq, type, at, octet_length(data) as chars, case when octet_length(data) > ${maxChars} then '' else data end as data
    from run_events where tenant_id = ${tenant} and run_id = ${id} and seq > ${after} order by seq limit 1`.compile(db),
  }),
);

/** As many events as have `maxChars` characters together, the one that goes beyond included; one that has more by itself comes without its data. */
export function* readEventsWithin(
  tenant: string,
  id: string,
  range: { after: number; limit: number; maxChars: number },
): Program<readonly SizedEvent[]> {
  const { limit, ...of } = { tenant, id, ...range };
  const rows = limit === 1 ? yield* run(nextWithin, of) : yield* run(eventsWithin, { ...of, limit });
  return rows.map((row) => ({ ...eventFromRow({ ...row, at: Number(row.at) }), chars: Number(row.chars) }));
}

/** A piece of the data of an event; null when there is no such event. */
export function* readEventData(
  tenant: string,
  id: string,
  { seq, from, chars }: { seq: number; from: number; chars: number },
): Program<string | null> {
  const [row] = yield* rowsOf<{ readonly piece: string }>(sql`
    select substr(data, ${from + 1}, ${chars}) as piece from run_events where tenant_id = ${tenant} and run_id = ${id} and seq = ${seq}`);
  return row?.piece ?? null;
}

export function insertEvents(rows: readonly EventRow[]): Program<number> {
  return insertMany(runEvents, rows);
}
