import { createCountedCache, NexusError } from '#core';

export interface WorkspaceUsage {
  readonly bytes: number;
  readonly files: number;
}

export interface UsageLimits {
  readonly maxWorkspaceBytes: number;
  readonly maxWorkspaceFiles: number;
}

interface UsageGuard {
  /**
   * Runs `write`, which changes the workspace by `change`, or throws `payload_too_large`. The writes of one workspace
   * come one after the other, in the order of the calls.
   */
  write<T>(
    root: string,
    plan: () => Promise<{ readonly change: WorkspaceUsage; readonly write: () => Promise<T> }>,
    measure: () => Promise<WorkspaceUsage>,
  ): Promise<T>;
}

interface Turns {
  waiting: number;
  last: Promise<unknown>;
}

/** Sizes that are remembered of workspaces that nobody writes to at the moment: an entry is two numbers and a path. */
const maxRemembered = 1_000;

/**
 * Holds workspaces to their size. The size is measured when a workspace is first written to and again before a write is
 * refused; in between, each write adds what it changes. So writing stays cheap and what was removed by other ways
 * is noticed in time; what was added by other ways counts from the next measurement.
 */
export function createUsageGuard(limits: UsageLimits): UsageGuard {
  const sizes = createCountedCache<string, WorkspaceUsage>(maxRemembered);
  const writing = new Map<string, Turns>();

  /** Runs the task after all earlier ones of the same workspace. */
  const inTurn = <T>(root: string, task: () => Promise<T>): Promise<T> => {
    const turns = writing.get(root) ?? { waiting: 0, last: Promise.resolve() };
    writing.set(root, turns);
    turns.waiting += 1;
    const turn = turns.last.then(task).finally(() => {
      turns.waiting -= 1;
      if (turns.waiting === 0) writing.delete(root);
    });
    turns.last = turn.catch(() => undefined); // the caller hears of it
    return turn;
  };

  const fits = (usage: WorkspaceUsage, change: WorkspaceUsage) =>
    (change.bytes <= 0 || usage.bytes + change.bytes <= limits.maxWorkspaceBytes) &&
    (change.files <= 0 || usage.files + change.files <= limits.maxWorkspaceFiles);

  return {
    write(root, plan, measure) {
      return inTurn(root, async () => {
        const { change, write } = await plan();
        let usage = sizes.get(root) ?? (await measure());
        if (!fits(usage, change)) usage = await measure();
        if (!fits(usage, change)) {
          const { bytes, files } = usage;
          throw new NexusError(
            'payload_too_large',
            `the workspace may hold ${limits.maxWorkspaceBytes} bytes in ${limits.maxWorkspaceFiles} files and has ${bytes} bytes in ${files}; write less`,
          );
        }
        sizes.delete(root); // a write that fails may have changed it
        const result = await write();
        sizes.set(root, { bytes: usage.bytes + change.bytes, files: usage.files + change.files });
        return result;
      });
    },
  };
}
