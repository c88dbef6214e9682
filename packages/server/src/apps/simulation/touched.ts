import type { Driver, Program, Result } from '#storage/drivers';
import type { Raw } from './rows.ts';

/** What transactions have touched since it was asked for the last time. */
export interface Touched {
  readonly runs: readonly string[];
  readonly balances: readonly string[];
  readonly reservations: readonly string[];
  readonly entries: readonly string[];
  /** What nothing may touch: journals that were written over or cut, entries that were changed. */
  readonly forbidden: readonly string[];
}

const balance = (row: string) => `${row}.scope || '|' || ${row}.unit || '|' || ${row}.budget_window`;
const amounts = 'kind, reservation_id, run_id, day, cost_micro_usd, tokens, tool_calls, wall_ms, budget_rows';

/** When the database notes what, and under which name. */
const notes: readonly (readonly [when: string, kind: keyof Touched, id: string])[] = [
  ['insert on main.runs', 'runs', 'new.run_id'],
  ['update on main.runs', 'runs', 'new.run_id'],
  ['delete on main.runs', 'runs', 'old.run_id'],
  // A journal ends where the row of its run says: whoever looks at the run finds out.
  ['insert on main.run_events', 'runs', 'new.run_id'],
  ['update on main.run_events', 'forbidden', "'the journal of ' || new.run_id"],
  ['insert on main.budgets', 'balances', balance('new')],
  ['update on main.budgets', 'balances', balance('new')],
  ['delete on main.budgets', 'balances', balance('old')],
  ['insert on main.reservations', 'reservations', 'new.reservation_id'],
  ['update on main.reservations', 'reservations', 'new.reservation_id'],
  ['delete on main.reservations', 'reservations', 'old.reservation_id'],
  ['insert on main.ledger_entries', 'entries', 'new.entry_id'],
  [`update of ${amounts} on main.ledger_entries`, 'forbidden', "'the entry ' || new.entry_id"],
];

/** Makes the database note what a transaction changes: most are signs of life, after which nothing need be looked at. */
export async function watchTouched(database: Driver): Promise<() => Promise<Touched | null>> {
  const create = ['create temp table touched (kind text, id text, primary key (kind, id)) without rowid'];
  for (const [index, [when, kind, id]] of notes.entries())
    create.push(`create temp trigger touched_${index} after ${when} begin insert or ignore into touched values ('${kind}', ${id}); end`);
  create.push(
    `create temp trigger journal_cut after delete on main.run_events when exists (select 1 from main.runs where tenant_id = old.tenant_id and run_id = old.run_id)
      begin insert or ignore into touched values ('forbidden', 'the journal of ' || old.run_id); end`,
  );
  for (const sql of create)
    await database.write(function* (): Program<unknown> {
      return yield { type: 'raw', sql, params: [] };
    });

  return async () => {
    const { rows } = await database.read(function* (): Program<Result> {
      return yield { type: 'raw', sql: 'delete from temp.touched returning kind, id', params: [] };
    });
    if (rows.length === 0) return null;
    // Sorted, so that what is looked at first is no matter of how they lie.
    const idsOf = (kind: keyof Touched) => (rows as readonly Raw[]).flatMap((row) => (row.kind === kind ? [String(row.id)] : [])).sort();
    return {
      runs: idsOf('runs'),
      balances: idsOf('balances'),
      reservations: idsOf('reservations'),
      entries: idsOf('entries'),
      forbidden: idsOf('forbidden'),
    };
  };
}
