import { NexusError } from '#core';

export interface WorkspaceUsage {
  readonly bytes: number;
  readonly files: number;
}

export interface UsageLimits {
  readonly maxWorkspaceBytes: number;
  readonly maxWorkspaceFiles: number;
}

const maxRemembered = 1_000;

/**
 * Holds workspaces to their size. The size is measured when a workspace is first written to and again when a write
 * would not fit; in between, each write adds what it changes. So writing stays cheap, parallel writes cannot pass the
 * limit together, and files that came or went by other ways are noticed before anything is refused.
 */
export function createUsageGuard(limits: UsageLimits) {
  const known = new Map<string, { bytes: number; files: number }>();

  const remember = async (root: string, measure: () => Promise<WorkspaceUsage>) => {
    const usage = { ...(await measure()) };
    const raced = known.get(root);
    if (raced !== undefined) return Object.assign(raced, usage);
    known.set(root, usage);
    const oldest = known.keys().next().value;
    if (known.size > maxRemembered && oldest !== undefined) known.delete(oldest);
    return usage;
  };

  const fits = (usage: WorkspaceUsage, change: WorkspaceUsage) =>
    (change.bytes <= 0 || usage.bytes + change.bytes <= limits.maxWorkspaceBytes) &&
    (change.files <= 0 || usage.files + change.files <= limits.maxWorkspaceFiles);

  return {
    /** Books `change` or throws `payload_too_large`. The answer takes the booking back. */
    async book(root: string, change: WorkspaceUsage, measure: () => Promise<WorkspaceUsage>): Promise<() => void> {
      let usage = known.get(root) ?? (await remember(root, measure));
      if (!fits(usage, change)) usage = await remember(root, measure);
      if (!fits(usage, change)) {
        throw new NexusError(
          'payload_too_large',
          `the workspace may hold ${limits.maxWorkspaceBytes} bytes in ${limits.maxWorkspaceFiles} files and has ${usage.bytes} bytes in ${usage.files}; ` +
            'write less or ask for more room',
        );
      }
      const booked = usage;
      booked.bytes += change.bytes;
      booked.files += change.files;
      return () => {
        booked.bytes -= change.bytes;
        booked.files -= change.files;
      };
    },
  };
}
