import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEgressAgent, createOwnListeners } from './index.ts';

describe('what this process answers', () => {
  const own = createOwnListeners(() => ['192.168.7.9', 'fe80::1%eth0', '2001:db8::9']);
  own.add(8080);

  it.each([
    ...[
      '127.0.0.1',
      '127.9.9.9',
      '0.0.0.0',
      '192.168.7.9',
      '::1',
      '::',
      '0:0:0:0:0:0:0:1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '::127.0.0.1',
    ],
    ...['::ffff:192.168.7.9', '::ffff:0.0.0.0', 'fe80::1', 'fe80::1%lo', '2001:db8::9', '2001:0db8:0::0009'],
  ])('is its own at every address of the machine: %s', (address) => {
    expect(own.isOwn(address, 8080)).toBe(true);
    expect(own.isOwn(address, 8081)).toBe(false);
  });

  it('is none at other addresses, and names are none', () => {
    for (const address of ['192.168.7.10', '10.0.0.1', '2001:db8::8', '93.184.216.34', 'localhost', '']) {
      expect(own.isOwn(address, 8080), address).toBe(false);
    }
  });
});

describe('a connection of a tool', () => {
  let server: Server;
  let port: number;
  let reached = 0;
  beforeAll(async () => {
    server = createServer((_, response) => {
      reached += 1;
      response.end('secret');
    });
    await new Promise<void>((resolve) => server.listen(0, '::', resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const lan = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ internal, family }) => !internal && family === 'IPv4')
    .map(({ address }) => address);

  it.each(['127.0.0.1', '127.1.2.3', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]', 'localhost', 'any.name.test', ...lan])(
    'never gets to a port of its own process, whatever is granted: %s [verifies hostile.steer.own-listeners]',
    async (host) => {
      const listeners = createOwnListeners();
      const agent = createEgressAgent({
        allowPrivate: () => true,
        isOwnListener: listeners.isOwn,
        resolve: async () => [{ address: '127.0.0.1', family: 4 }],
      });
      try {
        const get = () => agent.request({ origin: `http://${host}:${port}`, path: '/', method: 'GET' });
        reached = 0;
        expect(await (await get()).body.text()).toBe('secret');
        await agent.close();
        const shut = createEgressAgent({
          allowPrivate: () => true,
          isOwnListener: listeners.isOwn,
          resolve: async () => [{ address: '127.0.0.1', family: 4 }],
        });
        listeners.add(port);
        reached = 0;
        await expect(shut.request({ origin: `http://${host}:${port}`, path: '/', method: 'GET' })).rejects.toThrow(
          'leads to this server itself',
        );
        expect(reached).toBe(0);
        await shut.destroy();
      } finally {
        await agent.destroy();
      }
    },
  );

  it('is broken off before a byte is sent where only the connection shows where it leads', async () => {
    const agent = createEgressAgent({
      allowPrivate: () => true,
      // As if neither the name nor what it resolves to told.
      isOwnListener: (address, at) => at === port && address === '127.0.0.1' && asked++ > 0,
      resolve: async () => [{ address: '127.0.0.1', family: 4 }],
    });
    let asked = 0;
    reached = 0;
    await expect(agent.request({ origin: `http://some.test:${port}`, path: '/', method: 'GET' })).rejects.toThrow(
      'leads to this server itself',
    );
    expect(reached).toBe(0);
    await agent.destroy();
  });

  it('looks at so many addresses of a name, and uses no other', async () => {
    let asked = 0;
    const agent = createEgressAgent({
      allowPrivate: () => true,
      isOwnListener: () => {
        asked += 1;
        return false;
      },
      resolve: async () => Array.from({ length: 4_000 }, () => ({ address: '127.0.0.1', family: 4 })),
    });
    expect(await (await agent.request({ origin: `http://many.test:${port}`, path: '/', method: 'GET' })).body.text()).toBe('secret');
    expect(asked).toBeLessThan(100);
    await agent.destroy();
  });
});
