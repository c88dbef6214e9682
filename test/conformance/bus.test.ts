import pg from 'pg';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { openBus } from '../../packages/server/src/bus/drivers/index.ts';
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

  it('reconnects to Postgres after its connection was cut, and ends cleanly while it tries', async () => {
    const errors: unknown[] = [];
    const open = () => openBus({ kind: 'postgres', url: postgres.url, onError: (error) => errors.push(error) });
    const [sender, receiver] = await Promise.all([open(), open()]);
    let heard = 0;
    receiver.subscribe('a', () => {
      heard += 1;
    });
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    const cut = () =>
      client.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'nexus-agent bus' and datname = current_database()",
      );
    await cut();
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0), 5000);
    heard = 0;
    await vi.waitFor(() => {
      sender.publish('a', 'x');
      expect(heard).toBeGreaterThan(0);
    }, 5000);
    await cut();
    await client.end();
    await Promise.all([sender.close(), receiver.close()]);
  });
}

const redis = await findRedis();
if ('reason' in redis) {
  describe('bus: redis', () => it.skip(`not run: ${redis.reason}`));
} else {
  describeBus('redis', { open: () => openBus({ kind: 'redis', url: redis.url, onError }) });
}
