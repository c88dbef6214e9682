import { NexusError } from '#core';
import type { BatchResult } from './commit-batch.ts';
import type { Commit, CommitResult } from './types.ts';

export interface GroupCommitOptions {
  /** Applies a batch in one transaction; the promise resolves after COMMIT. */
  readonly flush: (commits: readonly Commit[]) => Promise<readonly BatchResult[]>;
  readonly maxCommits: number;
  /** A transaction takes no further commits once it holds this many characters of events. */
  readonly maxCharacters: number;
}

interface Pending {
  readonly commit: Commit;
  readonly characters: number;
  resolve(result: CommitResult): void;
  reject(error: unknown): void;
}

/**
 * Collects the commits of a tenant that arrive while its previous transaction runs, and writes them in one. A batch
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
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (lane.length > 0) {
      const batch = take(lane, options);
      await flush(batch);
    }
    lanes.delete(tenantId);
  }

  async function flush(batch: readonly Pending[]): Promise<void> {
    try {
      const results = await options.flush(batch.map((pending) => pending.commit));
      batch.forEach((pending, index) => {
        answer(pending, results[index]);
      });
    } catch (error) {
      if (batch.length === 1 || isUnavailable(error)) {
        for (const pending of batch) pending.reject(error);
        return;
      }
      for (const pending of batch) await flush([pending]);
    }
  }

  return {
    commit(commit) {
      if (closed) return Promise.reject(new NexusError('storage_unavailable', 'the store is closed'));
      return new Promise((resolve, reject) => {
        const pending: Pending = { commit, characters: charactersOf(commit), resolve, reject };
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

function take(lane: Pending[], { maxCommits, maxCharacters }: GroupCommitOptions): Pending[] {
  let count = 0;
  let characters = 0;
  for (const pending of lane) {
    characters += pending.characters;
    if (count === maxCommits || (count > 0 && characters > maxCharacters)) break;
    count += 1;
  }
  return lane.splice(0, count);
}

/** A cheap measure of what a commit writes: only the texts that models and tools produce can be large. */
function charactersOf(commit: Commit): number {
  if (typeof commit.events === 'function' || commit.events === undefined) return 1000;
  let characters = 1000;
  for (const event of commit.events) {
    if (event.type === 'tool.completed') characters += event.data.output.length;
    if (event.type === 'message.completed') characters += event.data.text.length;
    if (event.type === 'model.completed' || event.type === 'run.created') characters += 4000;
  }
  return characters;
}

function answer(pending: Pending, result: BatchResult | undefined): void {
  if (result === undefined) pending.reject(new NexusError('internal', 'the store gave no answer to a commit'));
  else if (result.type === 'failed') pending.reject(result.error);
  else pending.resolve(result);
}

function isUnavailable(error: unknown): boolean {
  return error instanceof NexusError && error.code === 'storage_unavailable';
}
