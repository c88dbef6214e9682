import { connect, createServer, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { openBus } from '../../packages/server/src/bus/drivers/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { findRedis } from '../support/redis.ts';
import { describeBus } from './bus.ts';

const onError = () => {};

/** A way to the server of this address that can be cut: it then takes connections, and says nothing. */
async function cuttable(url: string) {
  const { hostname, port } = new URL(url);
  const sockets = new Set<Socket>();
  let open = true;
  /** Connections of before this stay, and nothing passes on them. */
  let muted = 0;
  let age = 0;
  const server = createServer((socket) => {
    const own = ++age;
    sockets.add(socket.on('error', onError));
    if (!open) return;
    const behind = connect(Number(port), hostname).on('error', onError);
    sockets.add(behind);
    const pass = (to: Socket) => (data: Buffer) => void (own > muted && to.write(data));
    socket.on('data', pass(behind)).on('close', () => behind.destroy());
    behind.on('data', pass(socket)).on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const own = new URL(url);
  own.port = String(typeof address === 'object' && address !== null ? address.port : 0);
  own.hostname = '127.0.0.1';
  const cut = () => {
    open = false;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  return {
    url: own.href,
    cut,
    mute() {
      muted = age;
    },
    close() {
      cut();
      server.close();
    },
  };
}

/** What a bus does whose server is there and does not answer. */
function itEndsWithoutAnswer(kind: 'postgres' | 'redis', url: string) {
  it.concurrent(`opens no ${kind} bus on a server that says nothing`, async () => {
    const way = await cuttable(url);
    way.cut();
    const startedMs = performance.now();
    await expect(openBus({ kind, url: way.url, onError })).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect(performance.now() - startedMs).toBeLessThan(8_000);
    way.close();
  });

  it.concurrent(`closes a ${kind} bus whose server says nothing any more, also with a subscription that was never sent`, async () => {
    const way = await cuttable(url);
    const bus = await openBus({ kind, url: way.url, onError });
    way.cut();
    await new Promise((resolve) => setTimeout(resolve, 200)); // it tries to come back
    bus.subscribe('a', () => {});
    bus.publish('a', 'x');
    const startedMs = performance.now();
    await bus.close();
    expect(performance.now() - startedMs).toBeLessThan(8_000);
    way.close();
  });
}

/** A firewall that forgets connections tells neither end: what was open stays so, and nothing comes through. */
function itNoticesSilence(kind: 'postgres' | 'redis', url: string) {
  it.concurrent(`closes a ${kind} bus in time whose connections stay open and say nothing`, async () => {
    const way = await cuttable(url);
    const bus = await openBus({ kind, url: way.url, onError });
    bus.subscribe('a', () => {});
    way.mute();
    bus.publish('a', 'x');
    const startedMs = performance.now();
    await bus.close();
    expect(performance.now() - startedMs).toBeLessThan(8_000);
    way.close();
  });

  it.concurrent(`a ${kind} bus that only listens notices that its connection is dead, and hears again`, { timeout: 40_000 }, async () => {
    const way = await cuttable(url);
    const receiver = await openBus({ kind, url: way.url, onError });
    const sender = await openBus({ kind, url, onError });
    let heard = 0;
    receiver.subscribe('dead', () => {
      heard += 1;
    });
    const hears = (withinMs: number) =>
      vi.waitFor(
        () => {
          sender.publish('dead', 'x');
          expect(heard).toBeGreaterThan(0);
        },
        { timeout: withinMs, interval: 100 },
      );
    await hears(5_000);
    way.mute();
    await new Promise((resolve) => setTimeout(resolve, 200)); // what was on its way
    heard = 0;
    await hears(20_000);
    await Promise.all([receiver.close(), sender.close()]);
    way.close();
  });
}

describeBus('memory', { open: () => openBus({ kind: 'memory', onError }) });

const postgres = await acquirePostgres();
if ('reason' in postgres) {
  describe('bus: postgres', () => it.skip(`not run: ${postgres.reason}`));
} else {
  afterAll(() => postgres.close());
  describeBus('postgres', { open: () => openBus({ kind: 'postgres', url: postgres.url, onError }) });

  itEndsWithoutAnswer('postgres', postgres.url);
  itNoticesSilence('postgres', postgres.url);

  it('reconnects to Postgres after its connection was cut, and ends cleanly while it tries', async () => {
    const errors: unknown[] = [];
    const open = () => openBus({ kind: 'postgres', url: postgres.url, onError, onFailed: (error) => errors.push(error) });
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
  itEndsWithoutAnswer('redis', redis.url);
  itNoticesSilence('redis', redis.url);

  it('a redis bus whose rights are taken away goes on, and hears again when it has them back', { timeout: 40_000 }, async () => {
    const admin = new Redis(redis.url);
    const user = (...rules: string[]) => admin.call('ACL', 'SETUSER', 'nexus-bus-test', ...rules);
    await user('reset', 'on', '>secret', '~*', 'allchannels', '+@all');
    const own = new URL(redis.url);
    own.username = 'nexus-bus-test';
    own.password = 'secret';
    const failures: unknown[] = [];
    const onFailed = (error: unknown) => failures.push(error);
    const receiver = await openBus({ kind: 'redis', url: own.href, onError, onFailed });
    const sender = await openBus({ kind: 'redis', url: redis.url, onError });
    let heard = 0;
    receiver.subscribe('rights', () => {
      heard += 1;
    });
    const hears = (timeout: number) =>
      vi.waitFor(
        () => {
          sender.publish('rights', 'x');
          expect(heard).toBeGreaterThan(0);
        },
        { timeout, interval: 50 },
      );
    await hears(5_000);
    await user('resetchannels'); // the server ends connections that listen to what they may not
    await vi.waitFor(() => expect(failures.map(String).join()).toMatch(/NOPERM/), 10_000);
    heard = 0;
    await user('allchannels');
    await hears(20_000);
    await Promise.all([receiver.close(), sender.close()]);
    await admin.call('ACL', 'DELUSER', 'nexus-bus-test');
    admin.disconnect();
  });
}
