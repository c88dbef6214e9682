import { NexusError } from '#core';
import type { Blob, BlobDriver } from '#storage';
import type { Chance } from './chance.ts';
import type { Owner, World } from './world.ts';

/** So likely is it of a request for a content that … */
export interface ContentWeather {
  /** … nothing is done. */
  readonly refused: number;
  /** … it is done, and nothing comes back. */
  readonly lost: number;
  /** … it takes seconds. */
  readonly slow: number;
}

/** Where the contents of files lie, which all nodes share. */
export interface Contents {
  connect(owner: Owner): BlobDriver;
  /** By tenant and hash. */
  readonly kept: ReadonlyMap<string, Uint8Array>;
  /** Nothing goes wrong any more. */
  calmDown(): void;
}

const timeoutMs = 10_000;
const slowMs = 6_000;

const keyOfContent = ({ tenantId, sha256 }: Pick<Blob, 'tenantId' | 'sha256'>) => `${tenantId}/${sha256}`;

export function createContents(world: World, weather: ContentWeather, chance: Chance): Contents {
  const kept = new Map<string, Uint8Array>();
  let isCalm = false;

  function connect(owner: Owner): BlobDriver {
    function ask<R>(carryOut: () => R, signal: AbortSignal | undefined): Promise<R> {
      return new Promise<R>((resolve, reject) => {
        const fate = isCalm ? 'works' : chance.weighted({ ...weather, works: 1 });
        const wayMs = () => (fate === 'slow' ? chance.next() * slowMs : 0.5 + chance.next() * 5);
        const fail = (why: string) => settle(() => reject(new NexusError('storage_unavailable', `${why}; try again`)));
        const cancelLimit = world.after(timeoutMs, owner, () => fail('the store of contents did not answer in time'));
        const onAbort = () => fail('nobody waits for it any more');
        let isOpen = true;
        function settle(end: () => void): void {
          if (!isOpen) return;
          isOpen = false;
          cancelLimit();
          signal?.removeEventListener('abort', onAbort);
          end();
        }
        signal?.addEventListener('abort', onAbort, { once: true });
        if (fate === 'refused') return void world.after(wayMs(), owner, () => fail('the store of contents refused'));
        // What was sent is done, whatever becomes of the node.
        world.after(wayMs(), null, () => {
          try {
            const result = carryOut();
            if (fate !== 'lost') world.after(wayMs(), owner, () => settle(() => resolve(result)));
          } catch (error) {
            world.after(wayMs(), owner, () => settle(() => reject(error)));
          }
        });
      });
    }

    return {
      kind: 's3',
      async put(blob, read, signal) {
        const pieces: Uint8Array[] = [];
        for await (const piece of read()) pieces.push(piece);
        await ask(() => void kept.set(keyOfContent(blob), Buffer.concat(pieces)), signal);
      },
      async *get(blob, signal) {
        yield await ask(() => {
          const content = kept.get(keyOfContent(blob));
          if (content === undefined) throw new NexusError('not_found', `there is no content ${blob.sha256}`);
          return content;
        }, signal);
      },
      remove: (blob, signal) => ask(() => void kept.delete(keyOfContent(blob)), signal),
      check: async () => undefined,
      close: async () => undefined,
    };
  }
  return {
    connect,
    kept,
    calmDown() {
      isCalm = true;
    },
  };
}
