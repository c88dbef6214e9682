import { afterAll, describe, it } from 'vitest';
import { openBus } from '../../packages/server/src/storage/drivers/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { findRedis } from '../support/redis.ts';
import { describeBus } from './bus.ts';

const onError = () => {};

describeBus('memory', { open: () => openBus({ kind: 'memory', onError }) });

const postgres = await acquirePostgres();
if ('reason' in postgres) {
  describe('bus: postgres', () => it.skip(`not run: ${postgres.reason}`));
} else {
  afterAll(() => postgres.close());
  describeBus('postgres', { open: () => openBus({ kind: 'postgres', url: postgres.url, onError }) });
}

const redis = await findRedis();
if ('reason' in redis) {
  describe('bus: redis', () => it.skip(`not run: ${redis.reason}`));
} else {
  describeBus('redis', { open: () => openBus({ kind: 'redis', url: redis.url, onError }) });
}
