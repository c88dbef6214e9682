import type { RunId, TenantId } from '@nexus-agent/protocol';
import type { Timers } from '#core';

export interface SharedLookOptions {
  /** The last event of each run that there is. */
  readonly read: (tenantId: TenantId, runIds: readonly RunId[]) => Promise<ReadonlyMap<string, number>>;
  readonly timers: Pick<Timers, 'soon'>;
}

/** Of one query. */
const mostRuns = 500;

type Asked = Map<RunId, PromiseWithResolvers<number | null>>;

/**
 * Joins what is asked in one turn of the thread into one query for each tenant: many readers that look for news at the same time cost
 * what one does.
 */
export function createSharedLook({ read, timers }: SharedLookOptions): (tenantId: TenantId, runId: RunId) => Promise<number | null> {
  let asked = new Map<TenantId, Asked>();

  async function look(tenantId: TenantId, runs: Asked): Promise<void> {
    const ids = [...runs.keys()];
    for (let at = 0; at < ids.length; at += mostRuns) {
      const some = ids.slice(at, at + mostRuns);
      try {
        const found = await read(tenantId, some);
        for (const id of some) runs.get(id)?.resolve(found.get(id) ?? null);
      } catch (error) {
        for (const id of some) runs.get(id)?.reject(error);
      }
    }
  }

  return (tenantId, runId) => {
    if (asked.size === 0) {
      void timers.soon().then(() => {
        const all = asked;
        asked = new Map();
        for (const [tenant, runs] of all) void look(tenant, runs); // who asked hears of a failure
      });
    }
    const runs = asked.get(tenantId) ?? new Map();
    asked.set(tenantId, runs);
    const answer: PromiseWithResolvers<number | null> = runs.get(runId) ?? Promise.withResolvers();
    runs.set(runId, answer);
    return answer.promise;
  };
}
