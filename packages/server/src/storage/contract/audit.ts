import type { DecisionRecord, RunId, TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

export interface DecisionRow extends DecisionRecord {
  readonly runId: string | null;
  readonly callId: string | null;
  /** SHA-256 of the canonical JSON of the arguments that were decided on. */
  readonly argumentsHash: string | null;
  readonly at: number;
}

/** What was decided. It is written by commits. */
export interface AuditStore {
  listDecisions(tenantId: TenantId, filter: { runId?: RunId }, page: PageRequest): Promise<PageOf<DecisionRow>>;
}
