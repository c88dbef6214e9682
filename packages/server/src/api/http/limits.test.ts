import { connect, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { startTestPlatform } from '#apps/testing';

/** What a connection was answered, once it has ended. */
function ended(socket: Socket): Promise<string> {
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk;
  });
  socket.on('error', () => undefined); // being cut off is what is waited for
  return new Promise((resolve) => socket.on('close', () => resolve(received)));
}

it('cuts off a request that trickles in', async () => {
  const platform = await startTestPlatform({ config: { limits: { requestTimeoutMs: 1_000 } } });
  try {
    const answers = ['127.0.0.1', 'localhost'].map((host) => {
      const socket = connect({ host, port: platform.port });
      socket.write('POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{');
      return ended(socket);
    });
    for (const answer of await Promise.all(answers)) expect(answer).not.toContain('201');
  } finally {
    await platform.close();
  }
}, 10_000);

it('waits at shutdown for requests in flight, and no longer than the grace', async () => {
  const platform = await startTestPlatform({ config: { limits: { answerGraceMs: 150 } } });
  const asked = Promise.withResolvers<void>();
  platform.faults.fail('listSessions', () => {
    asked.resolve();
    return new Promise<never>(() => undefined);
  });
  const socket = connect({ host: '127.0.0.1', port: platform.port });
  const answer = ended(socket);
  socket.write('GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await asked.promise;
  const startedAt = performance.now();
  await platform.close();
  expect(performance.now() - startedAt).toBeGreaterThan(140);
  expect(await answer).toBe('');
}, 5_000);

it('keeps a connection without requests longer than proxies do, on each address, and longer than a request may take', async () => {
  const platform = await startTestPlatform({ config: { limits: { requestTimeoutMs: 1_000 } } });
  try {
    const ask = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const kept = ['127.0.0.1', '::1'].map(async (host) => {
      const socket = connect({ host, port: platform.port });
      let received = '';
      socket.on('data', (chunk) => {
        received += chunk;
      });
      const answers = () => received.match(/HTTP\/1\.1 200/g)?.length ?? 0;
      socket.write(ask);
      await expect.poll(answers).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 3_500));
      socket.write(ask);
      await expect.poll(answers).toBe(2);
      socket.destroy();
      return Number(/keep-alive: timeout=(\d+)/i.exec(received)?.[1]);
    });
    for (const seconds of await Promise.all(kept)) expect(seconds).toBeGreaterThan(600);
  } finally {
    await platform.close();
  }
}, 15_000);
