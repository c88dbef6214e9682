/** The door of the bus's drivers: only `apps` and tests open buses. */
import { NexusError } from '#core';
import type { Bus } from '../contract.ts';
import { createMemoryBus } from './memory.ts';
import { createPostgresBus } from './postgres.ts';
import { createRedisBus } from './redis.ts';
import type { RemoteBusOptions } from './remote.ts';

export { createMemoryBus };

export type OpenBusOptions = Pick<RemoteBusOptions, 'onError'> &
  Partial<Pick<RemoteBusOptions, 'onFailed' | 'onWorked'>> &
  ({ readonly kind: 'memory' } | { readonly kind: 'postgres' | 'redis'; readonly url: string });

/** Opens the bus. Throws `storage_unavailable` when its server cannot be reached now; later losses go to `onFailed`. */
export async function openBus(options: OpenBusOptions): Promise<Bus> {
  if (options.kind === 'memory') return createMemoryBus(options);
  try {
    const heard = { onFailed: () => undefined, onWorked: () => undefined, ...options };
    return await (options.kind === 'postgres'
      ? createPostgresBus({ ...heard, url: options.url })
      : createRedisBus({ ...heard, url: options.url }));
  } catch (cause) {
    throw new NexusError('storage_unavailable', `the ${options.kind} bus cannot be reached`, { cause });
  }
}
