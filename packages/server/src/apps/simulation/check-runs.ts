import type { Raw } from './rows.ts';
import { Violation } from './violation.ts';

export interface RunChecks {
  /** A run as its row is now. Throws {@link Violation} where that cannot have come of what it was. */
  see(row: Raw): void;
}

/** One holder for each fence, and what has ended stays as it was. */
export function createRunChecks(): RunChecks {
  const holders = new Map<string, string>();
  const ended = new Map<string, string>();
  return {
    see(row) {
      const id = String(row.run_id);
      if (row.lease_owner !== null) {
        const fence = `${id} ${row.epoch}`;
        const holder = holders.get(fence) ?? String(row.lease_owner);
        if (holder !== row.lease_owner) throw new Violation(`fence: ${fence} was held by ${holder} and by ${row.lease_owner}`);
        holders.set(fence, holder);
      }
      const outcome = JSON.stringify([row.status, row.last_seq, row.output]);
      const before = ended.get(id);
      if (before !== undefined && before !== outcome) throw new Violation(`run: ${id} had ended as ${before}, and is ${outcome}`);
      if (row.status === 'completed' || row.status === 'cancelled') ended.set(id, outcome);
    },
  };
}
