import type { RunId, RunStatus, SessionId } from '@nexus-agent/protocol';
import { beyond, decodeCursor, pageOf } from '../paging.ts';
import { type Program, query, run, statement } from '../program.ts';
import { eventFromRow, runFromRow } from '../rows.ts';
import type { PageOf, PageRequest, RunRow, StoredEvent } from '../types.ts';

const runById = statement('run_by_id', ({ db }, params: { tenant: string; id: string }) =>
  db.selectFrom('runs').selectAll().where('tenant_id', '=', params.tenant).where('run_id', '=', params.id),
);

export function* getRun(tenant: string, id: string): Program<RunRow | null> {
  const [row] = yield* run(runById, { tenant, id });
  return row ? runFromRow(row) : null;
}

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

/** Newest first. */
export function* listRuns(
  tenant: string,
  filter: { sessionId?: SessionId; status?: RunStatus; parentRunId?: RunId },
  page: PageRequest,
): Program<PageOf<RunRow>> {
  const position = page.cursor === undefined ? undefined : decodeCursor(page.cursor, ['number', 'string']);
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('runs').selectAll().where('tenant_id', '=', tenant);
    if (filter.sessionId !== undefined) select = select.where('session_id', '=', filter.sessionId);
    if (filter.status !== undefined) select = select.where('status', '=', filter.status);
    if (filter.parentRunId !== undefined) select = select.where('parent_run_id', '=', filter.parentRunId);
    if (position) select = select.where(beyond(['created_at', 'run_id'], position, 'desc'));
    return select
      .orderBy('created_at', 'desc')
      .orderBy('run_id', 'desc')
      .limit(page.limit + 1);
  });
  return pageOf(rows, page.limit, runFromRow, (row) => [row.created_at, row.run_id]);
}
