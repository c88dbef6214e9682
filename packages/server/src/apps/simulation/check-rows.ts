import type { Driver } from '#storage/drivers';
import { balanceKey, columnsOfBooks, createBooks } from './books.ts';
import { createLimitChecks } from './check-limits.ts';
import { createRunChecks } from './check-runs.ts';
import { selectAll } from './rows.ts';
import { Violation } from './violation.ts';

export interface RowChecks {
  everything(): Promise<void>;
}

/** What the rows of books and journals say between any two transactions, on any database: all of them. Throws {@link Violation}. */
export function createRowChecks(database: Driver): RowChecks {
  const limits = createLimitChecks(database);
  const runs = createRunChecks();

  async function books(): Promise<void> {
    const [balances, reservations, entries, families] = await Promise.all([
      selectAll(database, `select ${columnsOfBooks.balance} from budgets`),
      selectAll(database, `select ${columnsOfBooks.reservation} from reservations where state = 'open'`),
      selectAll(database, `select ${columnsOfBooks.entry} from ledger_entries`),
      selectAll(database, `select ${columnsOfBooks.family} from runs`),
    ]);
    const books = createBooks(String(balances[0]?.tenant_id));
    for (const row of families) books.family(row);
    for (const row of balances) books.balance(balanceKey(row), row);
    for (const row of reservations) books.reservation(String(row.reservation_id), row);
    for (const row of entries) books.entry(row);
    await limits.hold(books.balances, books.balances.keys());
    books.check();
  }

  async function journals(): Promise<void> {
    const rows = await selectAll(
      database,
      `select runs.run_id, status, epoch, lease_owner, last_seq, output,
        (select count(*) from run_events e where e.tenant_id = runs.tenant_id and e.run_id = runs.run_id) as events,
        (select max(seq) from run_events e where e.tenant_id = runs.tenant_id and e.run_id = runs.run_id) as newest from runs`,
    );
    for (const row of rows) {
      if (row.events !== row.last_seq || row.newest !== row.last_seq)
        throw new Violation(`journal: ${row.run_id} has ${row.events} events up to ${row.newest}, its row says ${row.last_seq}`);
      runs.see(row);
    }
  }

  return {
    async everything() {
      await books();
      await journals();
    },
  };
}
