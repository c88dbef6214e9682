import { decisionToRow, insertDecisions } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

/** What policies decided. */
export function decisionHandler({ tenantId }: Batch): Handler {
  const recorded: ReturnType<typeof decisionToRow>[] = [];
  return {
    decide({ decisions: given }) {
      if (!given?.length) return undefined;
      const rows = given.map((decision) => decisionToRow(tenantId, decision));
      return () => void recorded.push(...rows);
    },
    write(writes) {
      if (recorded.length > 0) writes.push(insertDecisions(recorded));
    },
  };
}
