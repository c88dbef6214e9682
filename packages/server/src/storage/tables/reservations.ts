import type { BudgetAmounts, RunId, TenantId } from '@nexus-agent/protocol';
import { sql } from 'kysely';
import type { LedgerEntry, ReservationRow, Subject } from '#ledger';
import type { PageOf, PageRequest } from '#storage/contract';
import {
  beyond,
  byKey,
  columnsOf,
  cutPage,
  defineTable,
  insertMany,
  json,
  jsonNullable,
  type Program,
  parse,
  parseNullable,
  queriesOn,
  type Row,
  run,
  selectMany,
  startOf,
  updateMany,
} from '#storage/program';

export const reservations = defineTable('reservations', {
  tenant_id: 'text',
  reservation_id: 'text',
  run_id: 'text?',
  state: 'text',
  amounts: 'text',
  subject: 'text?',
  budget_rows: 'text',
  granted_tokens: 'int?',
  granted_wall_ms: 'int?',
  expires_at: 'int',
  charged: 'text?',
  closed_at: 'int?',
  scopes: 'text?',
  wall_until: 'int?',
  bound: 'text?',
});
export const ledgerEntries = defineTable('ledger_entries', {
  tenant_id: 'text',
  entry_id: 'text',
  kind: 'text',
  reservation_id: 'text',
  run_id: 'text?',
  session_id: 'text?',
  user_name: 'text?',
  project: 'text?',
  agent: 'text?',
  model: 'text?',
  /** The UTC day that it counts in. */
  day: 'text',
  cost_micro_usd: 'int',
  tokens: 'int',
  tool_calls: 'int',
  wall_ms: 'int',
  budget_rows: 'text',
  /** Its amounts are in the sums of its day; 0 where an earlier version booked it. */
  folded: 'int',
  at: 'int',
});
type Stored = Row<typeof reservations>;
export type EntryRow = Row<typeof ledgerEntries>;

function reservationFromRow(row: Stored): ReservationRow {
  return {
    reservationId: row.reservation_id,
    runId: row.run_id,
    state: row.state as ReservationRow['state'],
    amounts: parse(row.amounts),
    subject: parseNullable<Subject>(row.subject),
    rows: parse(row.budget_rows),
    grantedTokens: row.granted_tokens,
    grantedWallMs: row.granted_wall_ms,
    expiresAt: row.expires_at,
    charged: parseNullable(row.charged),
    closedAt: row.closed_at,
    ...(row.scopes === null ? {} : { scopes: parse(row.scopes) }),
    ...(row.wall_until === null ? {} : { wallUntil: row.wall_until }),
    ...(row.bound === null ? {} : { bound: parse(row.bound) }),
  };
}

function reservationToRow(tenantId: string, reservation: ReservationRow): Stored {
  return {
    tenant_id: tenantId,
    reservation_id: reservation.reservationId,
    run_id: reservation.runId,
    state: reservation.state,
    amounts: json(reservation.amounts),
    subject: jsonNullable(reservation.subject),
    budget_rows: json(reservation.rows),
    granted_tokens: reservation.grantedTokens,
    granted_wall_ms: reservation.grantedWallMs,
    expires_at: reservation.expiresAt,
    charged: jsonNullable(reservation.charged),
    closed_at: reservation.closedAt,
    scopes: jsonNullable(reservation.scopes),
    wall_until: reservation.wallUntil ?? null,
    bound: jsonNullable(reservation.bound),
  };
}

function amountsOf(row: EntryRow): BudgetAmounts {
  const all = { costMicroUsd: row.cost_micro_usd, tokens: row.tokens, toolCalls: row.tool_calls, wallMs: row.wall_ms };
  return Object.fromEntries(Object.entries(all).filter(([, amount]) => amount !== 0));
}

function entryFromRow(row: EntryRow): LedgerEntry & { entryId: string; at: number } {
  return {
    entryId: row.entry_id,
    kind: row.kind as LedgerEntry['kind'],
    reservationId: row.reservation_id,
    runId: row.run_id,
    amounts: amountsOf(row),
    subject: { session: row.session_id, user: row.user_name, project: row.project, agent: row.agent, model: row.model },
    day: row.day,
    rows: parse(row.budget_rows),
    at: row.at,
  };
}

export function entryToRow(tenantId: string, entryId: string, entry: LedgerEntry, at: number): EntryRow {
  const { amounts, subject } = entry;
  return {
    tenant_id: tenantId,
    entry_id: entryId,
    kind: entry.kind,
    reservation_id: entry.reservationId,
    run_id: entry.runId,
    session_id: subject.session,
    user_name: subject.user,
    project: subject.project,
    agent: subject.agent,
    model: subject.model,
    day: entry.day,
    cost_micro_usd: amounts.costMicroUsd ?? 0,
    tokens: amounts.tokens ?? 0,
    tool_calls: amounts.toolCalls ?? 0,
    wall_ms: amounts.wallMs ?? 0,
    budget_rows: json(entry.rows),
    folded: 1,
    at,
  };
}

const { statement, query } = queriesOn(reservations, ledgerEntries);

// `open` is a literal and not a parameter: only then does the planner see that the index of open reservations applies.
const expiredReservations = statement('expired_reservations', ({ db }, params: { now: number; limit: number }) =>
  db
    .selectFrom('reservations')
    .selectAll()
    .where('expires_at', '<', params.now)
    .where('state', '=', sql.lit('open'))
    .orderBy('expires_at')
    .limit(params.limit),
);

export function* listExpiredReservations(
  now: number,
  limit: number,
): Program<readonly { tenantId: TenantId; reservation: ReservationRow }[]> {
  const rows = yield* run(expiredReservations, { now, limit });
  // written from a branded id
  return rows.map((row) => ({ tenantId: row.tenant_id as TenantId, reservation: reservationFromRow(row) }));
}

export function* listReservations(
  tenant: string,
  filter: { runId?: RunId; state?: ReservationRow['state'] },
): Program<readonly ReservationRow[]> {
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('reservations').selectAll().where('tenant_id', '=', tenant);
    if (filter.runId !== undefined) select = select.where('run_id', '=', filter.runId);
    if (filter.state !== undefined) select = select.where('state', '=', filter.state);
    return select.orderBy('reservation_id');
  });
  return rows.map(reservationFromRow);
}

/** Oldest first. `after` leaves out entries up to and including that time. */
export function* listLedgerEntries(
  tenant: string,
  filter: { runId?: RunId; after?: number },
  page: PageRequest,
): Program<PageOf<LedgerEntry & { entryId: string; at: number }>> {
  const position = startOf(page, ['number', 'string']);
  const { runId, after } = filter;
  const rows = yield* query(({ db }) => {
    let select = db.selectFrom('ledger_entries').selectAll().where('tenant_id', '=', tenant);
    if (runId !== undefined) select = select.where('run_id', '=', runId);
    if (after !== undefined) select = select.where('at', '>', after);
    if (position) select = select.where(beyond(['at', 'entry_id'], position, 'asc'));
    return select
      .orderBy('at')
      .orderBy('entry_id')
      .limit(page.limit + 1);
  });
  return cutPage(rows, page.limit, entryFromRow, (row) => [row.at, row.entry_id]);
}

const allColumns = columnsOf(reservations);

export function* lockReservations(tenantId: string, ids: readonly string[]): Program<readonly ReservationRow[]> {
  const rows = yield* selectMany(reservations, allColumns, {
    tenantId,
    key: 'reservation_id',
    keys: ids,
    orderBy: ['reservation_id'],
    lock: true,
  });
  return rows.map(reservationFromRow);
}

// As above.
/** Above so many scopes one look at all that is open costs less than a look for each. */
const maxSoughtScopes = 20;

/** All that are open and hold something in one of the scopes, locked; there may be others among them. */
export function* lockOpenReservations(tenant: string, scopes: readonly string[]): Program<readonly ReservationRow[]> {
  const rows = yield* query(({ db, dialect }) => {
    const open = db
      .selectFrom('reservations')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('state', '=', sql.lit('open'))
      .orderBy('reservation_id');
    if (scopes.length > maxSoughtScopes) return dialect.forUpdate(open);
    const names = ['scopes', 'budget_rows'] as const; // those of an older version name their scopes in their rows alone
    return dialect.forUpdate(
      open.where((is) =>
        is.or(scopes.flatMap((scope) => names.map((name) => sql<boolean>`${sql.ref(name)} like ${having(scope)} escape '!'`))),
      ),
    );
  });
  return rows.map(reservationFromRow);
}

/** The pattern of a JSON text that has the text in one of its strings. */
function having(text: string): string {
  return `%${JSON.stringify(text).slice(1, -1).replace(/[!%_]/g, '!$&')}%`;
}

export function insertReservations(tenantId: string, rows: readonly ReservationRow[]): Program<number> {
  return insertMany(reservations, rows.map((row) => reservationToRow(tenantId, row)).sort(byKey('reservation_id')));
}

/** Writes how locked reservations ended. */
export function closeReservations(tenantId: string, rows: readonly ReservationRow[]): Program<number> {
  return updateMany(
    reservations,
    ['tenant_id', 'reservation_id'],
    ['state', 'amounts', 'charged', 'closed_at', 'budget_rows'],
    rows.map((row) => reservationToRow(tenantId, row)),
  );
}

/** Writes what locked reservations hold now, and where. */
export function updateReservations(tenantId: string, rows: readonly ReservationRow[]): Program<number> {
  return updateMany(
    reservations,
    ['tenant_id', 'reservation_id'],
    ['amounts', 'budget_rows', 'wall_until', 'bound'],
    rows.map((row) => reservationToRow(tenantId, row)),
  );
}

export function insertEntries(rows: readonly EntryRow[]): Program<number> {
  return insertMany(ledgerEntries, rows);
}
