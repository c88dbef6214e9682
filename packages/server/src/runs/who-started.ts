import type { RunId, TenantId } from '@nexus-agent/protocol';
import { toJournalEvent } from '#runs/journal';
import type { RunStore } from '#storage';

/** The person or key that asked for a run, that of a sub-agent by the run above it. Null for one that is not there. */
export async function whoStarted(store: Pick<RunStore, 'readEvents'>, tenantId: TenantId, runId: RunId): Promise<string | null> {
  const [first] = await store.readEvents(tenantId, runId, { after: 0, limit: 1 });
  const created = first === undefined ? undefined : toJournalEvent(first);
  return created?.type === 'run.created' ? created.data.principal : null;
}
