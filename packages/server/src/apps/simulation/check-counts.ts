import type { Quotas } from '#storage';
import type { Driver } from '#storage/drivers';
import { selectAll } from './rows.ts';
import { Violation } from './violation.ts';

const counted = {
  sessions: 'count(*) as rows from sessions',
  idempotencyKeys: 'count(*) as rows from idempotency_keys',
  queuedRuns: "count(*) as rows from runs where status = 'queued' and parent_run_id is null",
  approvals: "count(*) as rows from approvals where status = 'pending' and kind <> 'client_result' and run_id in (select run_id from runs)",
  files: 'coalesce(sum(files), 0) as rows from file_trees',
  contents: 'count(*) as rows from contents',
} as const;

/** Those that are kept as a number beside what they count. */
const kept = new Set(['sessions', 'idempotencyKeys', 'files', 'contents']);
/** Runs that are handed over, taken over or resumed wait in the queue whatever there is in it. */
const added = new Set(['sessions', 'idempotencyKeys', 'approvals', 'files', 'contents']);

export interface CountChecks {
  /** Throws {@link Violation}. */
  everything(): Promise<void>;
}

/** No tenant has more than it may have, and what is counted is counted right. */
export function createCountChecks(database: Driver, { tenant }: Quotas): CountChecks {
  return {
    async everything() {
      const numbers = await selectAll(database, 'select kind, amount from tenant_counts');
      const numberOf = new Map(numbers.map(({ kind, amount }) => [String(kind), Number(amount)]));
      for (const [kind, rows] of Object.entries(counted)) {
        const [found] = await selectAll(database, `select ${rows}`);
        const count = Number(found?.rows);
        const most = tenant[kind as keyof typeof counted]; // a key of the table
        if (added.has(kind) && count > most) throw new Violation(`quota: there are ${count} ${kind}, and may be ${most}`);
        const number = numberOf.get(kind) ?? 0;
        if (kept.has(kind) && number !== count) throw new Violation(`quota: there are ${count} ${kind}, and ${number} are counted`);
      }
    },
  };
}
