import { isTerminal } from '@nexus-agent/protocol';
import type { Wake } from '#runs/dispatch';
import type { PageOf, Queue, RunRow, RunStore } from '#storage';

/** Asks a run and everything it started to stop, wherever they are driven. An ended one stays as it is. */
export async function cancelRun(
  { store, wake }: { readonly store: Pick<Queue, 'requestCancel'> & Pick<RunStore, 'listRuns'>; readonly wake: Wake },
  row: RunRow,
  reason: string,
): Promise<void> {
  const { tenantId, runId } = row;
  if (isTerminal(row.status)) return;
  await store.requestCancel(tenantId, runId, reason);
  wake({ tenantId, runId, cancel: reason });
  let cursor: string | null = null;
  do {
    const page: PageOf<RunRow> = await store.listRuns(
      tenantId,
      { parentRunId: runId },
      { limit: 100, ...(cursor === null ? {} : { cursor }) },
    );
    for (const child of page.items) await cancelRun({ store, wake }, child, reason);
    cursor = page.nextCursor;
  } while (cursor !== null);
}
