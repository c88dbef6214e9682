/** The slice of the configuration that the bus owns. */
import { z } from 'zod';
import { isAmbiguousAddress, setting } from '#core';

export const busConfig = {
  redisUrl: setting(
    z
      .url({ protocol: /^rediss?$/, error: 'expected redis://host:port' })
      .refine((url) => !isAmbiguousAddress(url), { error: 'expected redis://user:password@host:port' })
      .optional(),
    'Redis, for the bus.',
    { environment: 'NEXUS_REDIS_URL' },
  ),
  bus: setting(
    z.enum(['auto', 'memory', 'postgres', 'redis']).default('auto'),
    'What carries deltas between processes. `auto`: Redis if configured, else Postgres if used, else memory.',
    { environment: 'NEXUS_BUS' },
  ),
};
