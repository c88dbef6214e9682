import { type Clock, NexusError, type Timers } from '#core';
import type { Commit, CommitResult } from '#storage/contract';
import type { BatchResult } from './batch.ts';

export interface GroupCommitOptions {
  /**
   * Applies a batch in one transaction; the promise resolves after COMMIT. It answers as many as the transaction has
   * taken, at least one; the others come again with the next.
   */
  readonly flush: (commits: readonly Commit[], withinMs: number) => Promise<readonly BatchResult[]>;
  readonly maxCommits: number;
  /** A commit is answered, or has failed, after about so long, also behind others that the database does not answer. */
  readonly timeoutMs: number;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'soon'>;
}

interface Pending {
  readonly commit: Commit;
  readonly since: number;
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
  const { clock, timeoutMs } = options;
  const lanes = new Map<string, Pending[]>();
  const draining = new Set<Promise<void>>();
  let closed = false;

  async function drain(tenantId: string, lane: Pending[]): Promise<void> {
    await options.timers.soon();
    for (;;) {
      giveUp(lane);
      if (lane.length === 0) break;
      const batch = lane.splice(0, options.maxCommits);
      const taken = await flush(batch);
      if (taken < batch.length) lane.unshift(...batch.slice(taken));
    }
    lanes.delete(tenantId);
  }

  const leftMs = ({ since }: Pending) => since + timeoutMs - clock.monotonic();

  /** Those whose time has passed in the lane fail unwritten: they came first, so they stand first. */
  function giveUp(lane: Pending[]): void {
    for (let [first] = lane; first !== undefined && leftMs(first) <= 0; [first] = lane) {
      lane.shift();
      first.reject(new NexusError('storage_unavailable', `the database did not come to this change within ${timeoutMs} ms; try again`));
    }
  }

  /** Answers the first of the batch, and says how many. */
  async function flush(batch: readonly Pending[]): Promise<number> {
    const [first] = batch;
    try {
      // The last moments of the oldest are not all that the others get.
      const withinMs = first === undefined ? timeoutMs : Math.max(leftMs(first), timeoutMs / 4);
      const results = await options.flush(
        batch.map((pending) => pending.commit),
        withinMs,
      );
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
        const pending: Pending = { commit, since: clock.monotonic(), resolve, reject };
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
