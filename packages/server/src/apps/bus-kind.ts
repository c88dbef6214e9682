import type { NexusConfig } from '#apps/config';
import type { Bus } from '#bus';
import { openBus } from '#bus/drivers';
import { NexusError, redactText } from '#core';
import type { Outage } from './outages.ts';

/** What carries live messages between processes, by what is configured. Throws `config_invalid` where an address is missing. */
export function busKind(config: NexusConfig): { readonly kind: 'memory' } | { readonly kind: 'postgres' | 'redis'; readonly url: string } {
  const wanted =
    config.bus === 'auto'
      ? config.redisUrl !== undefined
        ? 'redis'
        : config.databaseUrl !== undefined
          ? 'postgres'
          : 'memory'
      : config.bus;
  if (wanted === 'memory') return { kind: 'memory' };
  const url = wanted === 'redis' ? config.redisUrl : config.databaseUrl;
  if (url === undefined) throw new NexusError('config_invalid', `bus: ${wanted} needs ${wanted === 'redis' ? 'redisUrl' : 'databaseUrl'}`);
  return { kind: wanted, url };
}

/** Opens a bus. Throws `storage_unavailable` that says which server could not be used, and why. */
export async function openBusOf(
  kind: ReturnType<typeof busKind>,
  { outage, onError }: { readonly outage: Outage; readonly onError: (error: unknown) => void },
): Promise<Bus> {
  // A driver tells what happens to its connections by the side: until it is open, that is why it cannot be.
  let opened = false;
  let told: unknown = null;
  const onFailed = (error: unknown) => {
    if (opened) outage.failed(error);
    else told ??= error;
  };
  try {
    const bus = await openBus({ ...kind, onError, onFailed, onWorked: () => outage.worked() });
    opened = true;
    return bus;
  } catch (error) {
    if (kind.kind === 'memory' || !(error instanceof NexusError)) throw error;
    const cause = told ?? error.cause;
    const why = cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : 'it does not answer';
    const [name, key] = kind.kind === 'redis' ? ['Redis', 'redisUrl (NEXUS_REDIS_URL)'] : ['Postgres', 'databaseUrl (NEXUS_DATABASE_URL)'];
    const host = URL.canParse(kind.url) ? ` at ${new URL(kind.url).host}` : '';
    throw new NexusError('storage_unavailable', redactText(`${name}${host} cannot be used: ${why}; check ${key}`), { cause });
  }
}
