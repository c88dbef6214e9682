import type { SessionId, TenantId } from '@nexus-agent/protocol';
import type { Clock } from '#core';
import type { Removal, RetentionStore } from '#storage';

const dayMs = 86_400_000;

/** Asked between two steps, with the pause that belongs there: false when it is time to end. */
export type GoOn = () => Promise<boolean>;

export interface ClearingDependencies {
  readonly store: RetentionStore;
  readonly clock: Clock;
  readonly logger: { error(fields: object, message: string): void };
  readonly settings: { readonly batchRows: number; readonly readersMs: number; readonly contentsDays: number };
  /** Deletes what this machine keeps of a session beside the database; done again, it does nothing. */
  readonly removeFiles: (tenantId: TenantId, sessionId: SessionId) => Promise<void>;
  /** Removes a content that is due, unless somebody needs it; `busy`: it is to be looked at again later. */
  readonly removeContent: (removal: Removal, signal: AbortSignal) => Promise<'removed' | 'kept' | 'busy'>;
}

/** How many contents of files went, of each tenant. */
export type Cleared = ReadonlyMap<TenantId, number>;

interface Pass {
  readonly goOn: GoOn;
  readonly signal: AbortSignal;
  readonly cleared: Map<TenantId, number>;
}

/** Clears away, in steps, what is left of that which was deleted. Aborting ends a content that is being removed; it is tried again. */
export function createClearing(dependencies: ClearingDependencies): (goOn: GoOn, signal: AbortSignal) => Promise<Cleared> {
  const { store, clock, logger, settings, removeFiles, removeContent } = dependencies;

  /** Everything that the database has of it; false when it is time to end. */
  async function clearRows(removal: Removal, goOn: GoOn): Promise<boolean> {
    const keepMs = settings.contentsDays * dayMs;
    while (await store.removeSome(removal, settings.batchRows, keepMs)) if (!(await goOn())) return false;
    return true;
  }

  /** False: it has to wait, and comes again with the next look. */
  async function clear(removal: Removal, { goOn, signal, cleared }: Pass): Promise<boolean> {
    const { tenantId, kind, id } = removal;
    switch (kind) {
      case 'wanted': {
        const remove = () => store.removeSession(tenantId, id as SessionId); // noted with the id of a session
        let outcome = await remove();
        while (outcome === 'more' && (await goOn())) outcome = await remove();
        if (outcome === 'not_found') await store.endRemoval(removal);
        return outcome !== 'busy' && outcome !== 'more';
      }
      case 'session':
        if (!(await clearRows(removal, goOn))) return false;
        await removeFiles(tenantId, id as SessionId); // as above
        await store.endRemoval(removal);
        return true;
      case 'run':
        if (!(await clearRows(removal, goOn))) return false;
        await store.endRemoval(removal);
        return true;
      case 'content':
      case 'leaving': {
        const outcome = await removeContent(removal, signal);
        if (outcome === 'removed') cleared.set(tenantId, (cleared.get(tenantId) ?? 0) + 1);
        return outcome !== 'busy';
      }
      default:
        return kind satisfies never;
    }
  }

  /** Runs are cleared once their readers had the time to read their end; what fails holds up nothing else. */
  return async (goOn, signal) => {
    const cleared = new Map<TenantId, number>();
    const waiting = new Set<string>();
    const keyOf = ({ tenantId, kind, id }: Removal) => `${tenantId} ${kind} ${id}`;
    for (;;) {
      const noted = await store.listRemovals(clock.now(), settings.batchRows + waiting.size);
      const readable = await store.listRemovals(clock.now() - settings.readersMs, settings.batchRows + waiting.size);
      const due = [...readable.filter(({ kind }) => kind === 'run'), ...noted.filter(({ kind }) => kind !== 'run')];
      const left = due.filter((removal) => !waiting.has(keyOf(removal)));
      if (left.length === 0) return cleared;
      for (const removal of left) {
        try {
          if (!(await clear(removal, { goOn, signal, cleared }))) waiting.add(keyOf(removal));
        } catch (error) {
          logger.error(
            { tenantId: removal.tenantId, id: removal.id, err: error },
            'what was deleted could not be cleared away; it is tried again',
          );
          waiting.add(keyOf(removal));
        }
        if (!(await goOn())) return cleared;
      }
    }
  };
}
