import type { TenantId } from '@nexus-agent/protocol';
import type { Clock, Timers } from '#core';
import type { Store, ToolWorkerRow } from '#storage';

interface PresenceParts {
  readonly store: Pick<Store, 'putToolWorker' | 'deleteToolWorker' | 'touchToolWorkers' | 'pruneToolWorkers' | 'pruneToolCalls'>;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly nodeId: string;
  readonly onError: (error: unknown) => void;
  readonly hasWorkers: () => boolean;
}

/** Workers of a node count as connected for so long after it last said so. */
const seenMs = 45_000;
const touchMs = 15_000;
const pruneMs = 60_000;
const pruned = 1_000;

/** Tells people at other nodes which workers are connected here, and forgets calls that nobody can ask for any more. */
export class Presence {
  readonly #parts: PresenceParts;
  readonly #stops: (() => void)[];
  readonly #writing = new Set<Promise<void>>();

  constructor(parts: PresenceParts) {
    this.#parts = parts;
    const { store, timers, clock, nodeId, hasWorkers } = parts;
    this.#stops = [
      timers.every(touchMs, () => {
        if (hasWorkers()) this.#write(store.touchToolWorkers(nodeId, clock.now()));
      }),
      timers.every(pruneMs, () => {
        const now = clock.now();
        this.#write(store.pruneToolCalls(now, pruned).then(() => store.pruneToolWorkers(now - 10 * seenMs, pruned)));
      }),
    ];
  }

  arrived(worker: Omit<ToolWorkerRow, 'nodeId' | 'seenAt'>): Promise<void> {
    const { store, nodeId } = this.#parts;
    return store.putToolWorker({ ...worker, nodeId, seenAt: worker.connectedAt });
  }

  left(tenantId: TenantId, workerId: string): void {
    const { store, nodeId } = this.#parts;
    this.#write(store.deleteToolWorker(tenantId, workerId, nodeId));
  }

  /** Resolves when what was being written is. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    await Promise.all(this.#writing);
  }

  #write(work: Promise<unknown>): void {
    const settled: Promise<void> = work
      .then(() => undefined)
      .catch(this.#parts.onError)
      .finally(() => this.#writing.delete(settled));
    this.#writing.add(settled);
  }
}
