import { booked, type Raw } from './rows.ts';
import { Violation } from './violation.ts';

/** What is read of the tables of the books, for whoever adds them up. */
export const columnsOfBooks = {
  entry:
    'entry_id, kind, reservation_id, run_id, session_id, user_name, project, agent, day, cost_micro_usd, tokens, tool_calls, wall_ms, budget_rows',
  reservation: 'reservation_id, state, amounts, budget_rows',
  balance: 'tenant_id, scope, unit, budget_window, period, limit_amount, inherited, spent, reserved',
  family: 'run_id, parent_run_id',
} as const;

export const balanceKey = ({ scope, unit, budget_window }: Raw) => `${scope}|${unit}|${budget_window}`;

/**
 * The books, added up once more from what was booked and what is open, in another way than the ledger does it. Rows may be given all at
 * once, or each as it came or changed; an entry is given once.
 */
export interface Books {
  /** Throws {@link Violation} for a reservation that is settled twice. */
  entry(row: Raw): void;
  /** As it is now; null once it is not there any more. */
  reservation(id: string, row: Raw | null): void;
  balance(key: string, row: Raw | null): void;
  /** A run, before anything that it books: whoever began it pays, too. */
  family(row: Raw): void;
  readonly balances: ReadonlyMap<string, Raw>;
  /** Holds the balances of which anything has changed since the last time against the sums. Throws {@link Violation}. */
  check(): void;
}

interface Open {
  readonly amounts: Readonly<Record<string, number>>;
  readonly keys: readonly string[];
}

const units = ['costMicroUsd', 'tokens', 'toolCalls', 'wallMs'];
const windows = ['total', 'day', 'month'];
const subjects = [
  ['session', 'session_id'],
  ['user', 'user_name'],
  ['project', 'project'],
  ['agent', 'agent'],
] as const;
const settling: ReadonlySet<unknown> = new Set(['settlement', 'overrun', 'charged_maximum']);

const periodOf = (window: string, day: string) => (window === 'total' ? '' : window === 'day' ? day : day.slice(0, 7));
const unitOf = (key: string) => key.split('|').at(-2) ?? '';

export function createBooks(tenant: string): Books {
  const balances = new Map<string, Raw>();
  const open = new Map<string, Open>();
  const held = new Map<string, number>();
  /** By balance and period. */
  const spent = new Map<string, number>();
  const settled = new Set<string>();
  const parentOf = new Map<string, string>();
  const changed = new Set<string>();

  function hold({ amounts, keys }: Open, sign: number): void {
    for (const key of keys) {
      held.set(key, (held.get(key) ?? 0) + sign * (amounts[unitOf(key)] ?? 0));
      changed.add(key);
    }
  }

  /** Everybody for whom something was done: the run and those that began it, and whoever else is named. */
  function scopesOf(entry: Raw): readonly string[] {
    const scopes = [`tenant:${tenant}`];
    for (const [kind, column] of subjects) if (entry[column] !== null) scopes.push(`${kind}:${entry[column]}`);
    for (let run: unknown = entry.run_id; typeof run === 'string'; run = parentOf.get(run)) scopes.push(`run:${run}`);
    return scopes;
  }

  function spend(key: string, period: string, amount: number): void {
    const place = `${key}|${period}`;
    spent.set(place, (spent.get(place) ?? 0) + amount);
    changed.add(key);
  }

  return {
    balances,
    entry(row) {
      const id = String(row.reservation_id);
      if (settling.has(row.kind)) {
        if (settled.has(id)) throw new Violation(`ledger: ${id} is settled twice`);
        settled.add(id);
      }
      // Where the row was there it says itself what it counted in: a clock that lags behind books into the window that has begun.
      const listed: readonly { readonly key: string; readonly period: string }[] = JSON.parse(String(row.budget_rows));
      const periods = new Map(listed.map(({ key, period }) => [key, period]));
      for (const scope of scopesOf(row))
        for (const unit of units) {
          const amount = booked(row, unit);
          if (amount === 0) continue;
          for (const window of windows) {
            const key = `${scope}|${unit}|${window}`;
            spend(key, periods.get(key) ?? periodOf(window, String(row.day)), amount);
          }
        }
    },
    reservation(id, row) {
      const before = open.get(id);
      if (before !== undefined) hold(before, -1);
      open.delete(id);
      if (row?.state !== 'open') return;
      const now: Open = { amounts: JSON.parse(String(row.amounts)), keys: JSON.parse(String(row.budget_rows)) };
      open.set(id, now);
      hold(now, 1);
    },
    balance(key, row) {
      changed.add(key);
      if (row === null) balances.delete(key);
      else balances.set(key, row);
    },
    family({ run_id, parent_run_id }) {
      if (parent_run_id !== null) parentOf.set(String(run_id), String(parent_run_id));
    },
    check() {
      for (const key of changed) {
        const row = balances.get(key);
        if (row === undefined) continue;
        if (Number(row.spent) < 0 || Number(row.reserved) < 0) throw new Violation(`ledger: ${key} is below nothing`);
        const reserved = held.get(key) ?? 0;
        if (Number(row.reserved) !== reserved)
          throw new Violation(`ledger: ${key} has ${row.reserved} reserved, its open reservations ${reserved}`);
        const sum = spent.get(`${key}|${row.period}`) ?? 0;
        // The limit of every user is held by each of them, and nothing is spent in it.
        if (!key.startsWith('user:*|') && Number(row.spent) !== sum)
          throw new Violation(`ledger: ${key} ${row.period} has ${row.spent} spent, its entries ${sum}`);
      }
      changed.clear();
    },
  };
}
