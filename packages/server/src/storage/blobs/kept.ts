import { type Clock, createCountedCache, NexusError, type Timers, throwIfAborted } from '#core';
import type { Blob, BlobDriver, BlobStore, ContentTable, Removal, RetentionStore } from '#storage/contract';

export interface KeptBlobsOptions {
  readonly driver: BlobDriver;
  readonly store: ContentTable & Pick<RetentionStore, 'endRemoval'>;
  readonly clock: Clock;
  readonly timers: Pick<Timers, 'sleep'>;
  /** How long a content stays that no file names. Half of it is what a commit may take to name what was put. */
  readonly keepMs: number;
}

export interface KeptBlobs extends BlobStore {
  /** Removes a content that is due, unless somebody needs it. `busy`: another process does so, look again later. */
  removeContent(removal: Removal, signal: AbortSignal): Promise<'removed' | 'kept' | 'busy'>;
}

/** How long a content is its remover's. One that took so long is lost, or stops before it does harm. */
const removingMs = 300_000;
const waitMs = 10_000;
const pauseMs = 100;

/**
 * Blobs that stay as long as somebody needs them. Who puts one touches its note in the database first, also where it is there already, and
 * waits while it is being removed; who removes one takes the note of what nobody has touched for long and no file names. The database
 * puts the two in an order, wherever the blobs lie.
 */
export function createKeptBlobs({ driver, store, clock, timers, keepMs }: KeptBlobsOptions): KeptBlobs {
  /** Until when what was touched here stays. */
  const staying = createCountedCache<string, number>(10_000);

  async function touch(blob: Blob, signal: AbortSignal | undefined, forMs: number): Promise<void> {
    const key = `${blob.tenantId}/${blob.sha256}`;
    if ((staying.get(key) ?? 0) - clock.now() >= forMs / 2) return;
    for (let waitedMs = 0; ; waitedMs += pauseMs) {
      throwIfAborted(signal);
      const until = await store.touchContent(blob, forMs, removingMs);
      if (until !== null) return void staying.set(key, until);
      if (waitedMs >= waitMs)
        throw new NexusError(
          'storage_unavailable',
          'the same content is being removed at this moment, as no file had it any more; try again',
        );
      await timers.sleep(pauseMs, signal);
    }
  }

  return {
    kind: driver.kind,
    async put(blob, read, signal, forMs = 0) {
      // What is touched stays for half of the time at least.
      await touch(blob, signal, Math.max(keepMs, 2 * forMs));
      await driver.put(blob, read, signal);
    },
    get: (blob, signal) => driver.get(blob, signal),
    check: (signal) => driver.check(signal),
    close: () => driver.close(),
    async removeContent(removal, signal) {
      const began = { monotonic: clock.monotonic(), wall: clock.now() };
      const taken = await store.takeContent(removal, removingMs);
      if (taken !== 'taken') return taken;
      // A process that stood still meanwhile may not have it any more. By both clocks: either may stand still, or be set.
      const tookMs = Math.max(clock.monotonic() - began.monotonic, clock.now() - began.wall);
      if (tookMs > removingMs / 4) return 'busy';
      const { tenantId, id: sha256 } = removal;
      await driver.remove({ tenantId, sha256 }, AbortSignal.any([signal, AbortSignal.timeout(removingMs / 4)]));
      await store.endRemoval({ tenantId: removal.tenantId, kind: 'leaving', id: sha256 });
      return 'removed';
    },
  };
}
