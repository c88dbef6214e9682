import type { WorkerHello, WorkerMessage, WorkerReceipt, WorkerReports } from '@nexus-agent/protocol';

/** Where processes of other people that serve tools are connected, and report. */
export interface WorkerDesk {
  /**
   * Takes a worker in: its tools are those of the pool from now on, unless it comes back. What it is told comes until the signal fires,
   * the worker is connected elsewhere, or this process ends; its calls are its own for as long as it reports them.
   * Throws `invalid_request` for tools that are not sound, and `quota_exceeded`.
   */
  connect(tenantId: string, pool: string, hello: WorkerHello, signal: AbortSignal): Promise<AsyncIterable<readonly WorkerMessage[]>>;
  /** Takes reports, at whichever node they arrive, and says what stands of each call. */
  report(tenantId: string, pool: string, reports: WorkerReports): Promise<WorkerReceipt>;
  /** Ends all streams: workers come back at another node. Calls that they hold stay theirs. */
  close(): Promise<void>;
}
