import { NexusError, type Timers } from '#core';
import type { Commit, CommitResult } from '#storage/contract';
import type { BatchResult } from './batch.ts';

export interface GroupCommitOptions {
  /**
   * Applies a batch in one transaction; the promise resolves after COMMIT. It answers as many as the transaction has
   * taken, at least one; the others come again with the next.
   */
  readonly flush: (commits: readonly Commit[]) => Promise<readonly BatchResult[]>;
  readonly maxCommits: number;
  readonly timers: Pick<Timers, 'soon'>;
}

interface Pending {
  readonly commit: Commit;
  resolve(result: CommitResult): void;
  reject(error: unknown): void;
}

/**
 * Collects the commits of a tenant that arrive while its previous transaction runs, and writes them together. A batch
 * that fails as a whole is repeated one commit at a time, so that a poisonous one fails alone.
 */
export function createGroupCommit(options: GroupCommitOptions): {
  commit(commit: Commit): Promise<CommitResult>;
  /** Refuses new commits and waits for those accepted. */
  close(): Promise<void>;
} {
  const lanes = new Map<string, Pending[]>();
  const draining = new Set<Promise<void>>();
  let closed = false;

  async function drain(tenantId: string, lane: Pending[]): Promise<void> {
    await options.timers.soon();
    while (lane.length > 0) {
      const batch = lane.splice(0, options.maxCommits);
      const taken = await flush(batch);
      if (taken < batch.length) lane.unshift(...batch.slice(taken));
    }
    lanes.delete(tenantId);
  }

  /** Answers the first of the batch, and says how many. */
  async function flush(batch: readonly Pending[]): Promise<number> {
    try {
      const results = await options.flush(batch.map((pending) => pending.commit));
      if (results.length === 0) throw new NexusError('internal', 'a transaction took no commit');
      results.forEach((result, index) => {
        answer(batch[index], result);
      });
      return results.length;
    } catch (error) {
      if (batch.length === 1 || isUnavailable(error)) for (const pending of batch) pending.reject(error);
      else for (const pending of batch) await flush([pending]);
      return batch.length;
    }
  }

  return {
    commit(commit) {
      if (closed) return Promise.reject(new NexusError('storage_unavailable', 'the store is closed'));
      return new Promise((resolve, reject) => {
        const pending: Pending = { commit, resolve, reject };
        const lane = lanes.get(commit.tenantId);
        if (lane) {
          lane.push(pending);
          return;
        }
        const created = [pending];
        lanes.set(commit.tenantId, created);
        const drained = drain(commit.tenantId, created).finally(() => draining.delete(drained));
        draining.add(drained);
      });
    },
    async close() {
      closed = true;
      await Promise.all(draining);
    },
  };
}

function answer(pending: Pending | undefined, result: BatchResult): void {
  if (result.type === 'failed') pending?.reject(result.error);
  else pending?.resolve(result);
}

function isUnavailable(error: unknown): boolean {
  return error instanceof NexusError && error.code === 'storage_unavailable';
}
