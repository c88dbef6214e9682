import type { Driver } from '#storage/drivers';
import { columnsOfBooks, createBooks } from './books.ts';
import type { CountChecks } from './check-counts.ts';
import { createLimitChecks } from './check-limits.ts';
import { createRowChecks } from './check-rows.ts';
import { createRunChecks } from './check-runs.ts';
import type { Chronicle } from './chronicle.ts';
import { selectAll, selectEach } from './rows.ts';
import { type Touched, watchTouched } from './touched.ts';
import { Violation } from './violation.ts';

export interface Checker {
  /** Before anything is written. */
  open(): Promise<void>;
  /** After each transaction: what it touched, all that holds of it. All rows now and then. */
  afterCommit(): Promise<void>;
  /** All of it. */
  everything(): Promise<void>;
}

const countsEvery = 25;
const thoroughEvery = 200;
const runsById = `select run_id, session_id, parent_run_id, agent, created_at, status, epoch, lease_owner, last_seq, output
  from runs where tenant_id = ? and run_id = ?`;

/** What holds between any two transactions, whatever happened. Throws {@link Violation}. */
export function createChecker(database: Driver, chronicle: Chronicle, counts: CountChecks, tenant: string): Checker {
  const rows = createRowChecks(database);
  const books = createBooks(tenant);
  const limits = createLimitChecks(database);
  const runs = createRunChecks();
  let takeTouched: () => Promise<Touched | null> = async () => null;
  let commits = 0;

  async function everything(): Promise<void> {
    await rows.everything();
    await counts.everything();
  }

  async function lookAtBooks({ balances, reservations, entries }: Touched): Promise<void> {
    const found = await selectEach(
      database,
      `select ${columnsOfBooks.balance} from budgets where tenant_id = ? and scope = ? and unit = ? and budget_window = ?`,
      balances.map((key) => [tenant, ...placeOfBalance(key)]),
    );
    for (const [index, key] of balances.entries()) books.balance(key, found[index] ?? null);
    const held = await selectEach(
      database,
      `select ${columnsOfBooks.reservation} from reservations where tenant_id = ? and reservation_id = ?`,
      reservations.map((id) => [tenant, id]),
    );
    for (const [index, id] of reservations.entries()) books.reservation(id, held[index] ?? null);
    for (const id of entries)
      for (const row of await selectAll(
        database,
        `select ${columnsOfBooks.entry} from ledger_entries where tenant_id = ? and entry_id = ?`,
        tenant,
        id,
      ))
        books.entry(row);
    // A limit for every user is one for each of them.
    const isForAll = balances.some((key) => key.startsWith('user:*|'));
    await limits.hold(books.balances, isForAll ? books.balances.keys() : balances);
    books.check();
  }

  return {
    async open() {
      takeTouched = await watchTouched(database);
    },
    everything,
    async afterCommit() {
      const touched = await takeTouched();
      if (touched === null) return;
      const [forbidden] = touched.forbidden;
      if (forbidden !== undefined) throw new Violation(`journal: ${forbidden} was changed`);
      commits += 1;
      const found = await selectEach(
        database,
        runsById,
        touched.runs.map((id) => [tenant, id]),
      );
      for (const row of found) if (row !== undefined) books.family(row);
      await lookAtBooks(touched);
      await chronicle.afterCommit(touched.runs.map((runId, index) => ({ runId, row: found[index] ?? null })));
      for (const row of found) if (row !== undefined) runs.see(row);
      if (commits % thoroughEvery === 0) await rows.everything();
      if (commits % countsEvery === 0) await counts.everything();
    },
  };
}

/** Of the key of a balance: an id may contain `|`, a unit and a window never do. */
function placeOfBalance(key: string): readonly string[] {
  const parts = key.split('|');
  return [parts.slice(0, -2).join('|'), ...parts.slice(-2)];
}
