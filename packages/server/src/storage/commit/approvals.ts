import type { Commit } from '#storage/contract';
import { approvalToRow, closeApproval, insertApprovals } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

/** Questions to people: new ones, and those that no longer need an answer. They change only while their run is locked. */
export function approvalHandler({ tenantId }: Batch): Handler {
  const created: ReturnType<typeof approvalToRow>[] = [];
  const closed: NonNullable<Commit['closeApprovals']>[number][] = [];
  return {
    decide({ approvals: given, closeApprovals }) {
      if (!given?.length && !closeApprovals?.length) return undefined;
      const rows = (given ?? []).map(approvalToRow);
      return () => {
        created.push(...rows);
        closed.push(...(closeApprovals ?? []));
      };
    },
    write(writes) {
      if (created.length > 0) writes.push(insertApprovals(created));
      // Afterwards, as one commit of the batch may close what an earlier one opened.
      for (const { approvalId, status } of closed) writes.push(closeApproval(tenantId, approvalId, status));
    },
  };
}
