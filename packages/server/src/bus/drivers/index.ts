/** The door of the bus's drivers: only `apps` and tests open buses. */
import { NexusError } from '#core';
import type { Bus } from '../contract.ts';
import { createMemoryBus } from './memory.ts';
import { createPostgresBus } from './postgres.ts';
import { createRedisBus } from './redis.ts';

export type OpenBusOptions = { readonly onError: (error: unknown) => void } & (
  | { readonly kind: 'memory' }
  | { readonly kind: 'postgres' | 'redis'; readonly url: string }
);

/** Opens the bus. Throws `storage_unavailable` when its server cannot be reached now; later losses go to `onError`. */
export async function openBus(options: OpenBusOptions): Promise<Bus> {
  if (options.kind === 'memory') return createMemoryBus(options);
  try {
    return await (options.kind === 'postgres' ? createPostgresBus(options) : createRedisBus(options));
  } catch (cause) {
    throw new NexusError('storage_unavailable', `the ${options.kind} bus cannot be reached`, { cause });
  }
}
