import type { SessionId, TenantId } from '@nexus-agent/protocol';
import type { Clock } from '#core';
import type { Removal, RetentionStore } from '#storage';

/** Asked between two steps, with the pause that belongs there: false when it is time to end. */
export type GoOn = () => Promise<boolean>;

export interface ClearingDependencies {
  readonly store: RetentionStore;
  readonly clock: Clock;
  readonly logger: { error(fields: object, message: string): void };
  readonly settings: { readonly batchRows: number; readonly readersMs: number };
  /** Deletes what this machine keeps of a session beside the database; done again, it does nothing. */
  readonly removeFiles: (tenantId: TenantId, sessionId: SessionId) => Promise<void>;
}

/** Clears away, in steps, what is left of that which was deleted. */
export function createClearing({ store, clock, logger, settings, removeFiles }: ClearingDependencies): (goOn: GoOn) => Promise<void> {
  /** False: it has to wait, and comes again with the next look. */
  async function clear(removal: Removal, goOn: GoOn): Promise<boolean> {
    const { tenantId, kind, id } = removal;
    switch (kind) {
      case 'wanted': {
        const outcome = await store.removeSession(tenantId, id as SessionId); // noted with the id of a session
        if (outcome === 'not_found') await store.endRemoval(removal);
        return outcome !== 'busy';
      }
      case 'session':
        while (await store.removeSome(removal, settings.batchRows)) if (!(await goOn())) return false;
        await removeFiles(tenantId, id as SessionId); // as above
        await store.endRemoval(removal);
        return true;
      case 'run':
        while (await store.removeSome(removal, settings.batchRows)) if (!(await goOn())) return false;
        await store.endRemoval(removal);
        return true;
      default:
        return kind satisfies never;
    }
  }

  /** Runs are cleared once their readers had the time to read their end; what fails holds up nothing else. */
  return async (goOn) => {
    const waiting = new Set<string>();
    const keyOf = ({ tenantId, kind, id }: Removal) => `${tenantId} ${kind} ${id}`;
    for (;;) {
      const noted = await store.listRemovals(clock.now(), settings.batchRows + waiting.size);
      const readable = await store.listRemovals(clock.now() - settings.readersMs, settings.batchRows + waiting.size);
      const due = [...readable.filter(({ kind }) => kind === 'run'), ...noted.filter(({ kind }) => kind !== 'run')];
      const left = due.filter((removal) => !waiting.has(keyOf(removal)));
      if (left.length === 0) return;
      for (const removal of left) {
        try {
          if (!(await clear(removal, goOn))) waiting.add(keyOf(removal));
        } catch (error) {
          logger.error(
            { tenantId: removal.tenantId, id: removal.id, err: error },
            'what was deleted could not be cleared away; it is tried again',
          );
          waiting.add(keyOf(removal));
        }
        if (!(await goOn())) return;
      }
    }
  };
}
