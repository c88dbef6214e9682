import { NexusError } from '#core';

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

interface Known {
  usage: WorkspaceUsage | undefined;
  queue: Promise<unknown>;
}

const maxRemembered = 1_000;

/**
 * Holds workspaces to their size. The size is measured when a workspace is first written to and again before a write is
 * refused; in between, each write adds what it changes. So writing stays cheap and what was removed by other ways
 * is noticed in time; what was added by other ways counts from the next measurement.
 */
export function createUsageGuard(limits: UsageLimits): UsageGuard {
  const workspaces = new Map<string, Known>();

  const find = (root: string): Known => {
    const known = workspaces.get(root) ?? { usage: undefined, queue: Promise.resolve() };
    workspaces.delete(root);
    workspaces.set(root, known);
    const oldest = workspaces.keys().next().value;
    if (workspaces.size > maxRemembered && oldest !== undefined) workspaces.delete(oldest);
    return known;
  };

  const fits = (usage: WorkspaceUsage, change: WorkspaceUsage) =>
    (change.bytes <= 0 || usage.bytes + change.bytes <= limits.maxWorkspaceBytes) &&
    (change.files <= 0 || usage.files + change.files <= limits.maxWorkspaceFiles);

  return {
    write(root, plan, measure) {
      const known = find(root);
      const turn = known.queue.then(async () => {
        const { change, write } = await plan();
        known.usage ??= await measure();
        if (!fits(known.usage, change)) known.usage = await measure();
        const { bytes, files } = known.usage;
        if (!fits(known.usage, change)) {
          throw new NexusError(
            'payload_too_large',
            `the workspace may hold ${limits.maxWorkspaceBytes} bytes in ${limits.maxWorkspaceFiles} files and has ${bytes} bytes in ${files}; write less`,
          );
        }
        const result = await write();
        known.usage = { bytes: bytes + change.bytes, files: files + change.files };
        return result;
      });
      known.queue = turn.catch(() => undefined); // the caller hears of it
      return turn;
    },
  };
}
