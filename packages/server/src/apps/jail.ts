import type { NexusConfig } from '#apps/config';
import { systemClock, systemTimers } from '#core';
import { createJail } from '#tools';

/** Jails as the configuration has them, and what each program may take. Nothing is tried before the first one is wanted. */
export function openJail({ sandbox, workspace }: NexusConfig) {
  const { driver, bubblewrap, runsc, user, readOnly, tmpBytes, maxJails, spareJails, maxQueued, maxWaitMs, network, ...limits } =
    sandbox.jail;
  const folderLimit = { bytes: workspace.maxBytes, files: workspace.maxNames };
  return {
    jail: createJail({ clock: systemClock, timers: systemTimers, driver, bubblewrap, runsc, user, readOnly, tmpBytes, folderLimit }),
    limits,
    network,
    turns: { maxJails, spareJails, maxQueued, maxWaitMs },
  };
}
