import type { Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService } from '#llm';
import { createOpenAiCompatibleProvider } from '#llm/providers';
import { call, keptAnswer, makeRequest, recordGate, startRawServer, startSecureServer } from '#llm/testing';
import { trustTestCertificate } from './proxies.testkit.ts';
import { reachError } from './reach.ts';

beforeAll(trustTestCertificate);

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

const answer = keptAnswer('data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');

function service(baseUrl: string) {
  const provider = createOpenAiCompatibleProvider({ name: 'p', baseUrl, clock: systemClock, price: 'free' });
  const llm = createModelService({ providers: [provider], clock: systemClock, random: () => 0, retry: { baseDelayMs: 1 } });
  open.push(llm);
  const target = { provider: 'p', model: 'm', contextTokens: 8_000, maxOutputTokens: 1_000, simulator: false, thinksUnseen: false };
  const targets = [{ ...target, imageTokens: 1, templateTokens: 1, price: null }];
  return async (idempotencyKey: string) => {
    const gate = recordGate();
    const { last, text } = await call(llm, makeRequest('x', { idempotencyKey }), { models: [], targets, gate });
    return { last, text, attempts: gate.begins.length, failed: gate.failures };
  };
}

const rest = () => new Promise((resolve) => setTimeout(resolve, 20)); // the connection is free a moment after its answer

describe('a connection that was kept', () => {
  it.each<[string, (socket: Socket) => void]>([
    ['reset', (socket) => socket.resetAndDestroy()],
    ['closed', (socket) => socket.end()],
    ['lost', (socket) => socket.destroy()],
  ])(
    'and is %s when the next request comes has cost what that may have cost, and another attempt is asked for [verifies provider.connection.idle]',
    async (_how, lose) => {
      // The server has read the request by then, and may bill it.
      const server = await startRawServer((socket, count) => (count === 2 ? lose(socket) : void socket.write(answer)));
      open.push(server);
      const ask = service(server.url);
      expect(await ask('first')).toMatchObject({ text: 'Hello', attempts: 1 });
      await rest();
      const second = await ask('second');
      expect(second).toMatchObject({ text: 'Hello', attempts: 2, last: { type: 'completed' } });
      expect(server.requests).toHaveLength(3);
      expect(second.failed).toMatchObject([{ sent: true, assumed: ['inputTokens', 'outputTokens'] }]);
    },
  );

  it('and is lost over TLS is left for another, too', async () => {
    let count = 0;
    const server = await startSecureServer((request, response) => {
      request.resume();
      count += 1;
      if (count === 2) return void request.socket.destroy();
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(answer.slice(answer.indexOf('data:')));
    });
    open.push(server);
    const ask = service(`https://127.0.0.1:${server.port}`);
    expect(await ask('first')).toMatchObject({ text: 'Hello', attempts: 1 });
    await rest();
    expect(await ask('second')).toMatchObject({ text: 'Hello', attempts: 2 });
    expect(count).toBe(3);
  });
});

it('a call that is left before there is a connection is never sent', async () => {
  const server = await startRawServer((socket) => socket.write(answer));
  const provider = createOpenAiCompatibleProvider({ name: 'p', baseUrl: server.url, clock: systemClock });
  open.push(server, provider);
  const fail = () => expect.unreachable('nothing is told after it was left');
  const call = { model: 'm', request: makeRequest('x'), maxOutputTokens: 10, timeoutMs: 1_000 };
  provider.open(call, { delta: fail, done: fail, failed: fail }).abort();
  await expect.poll(() => server.connections).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(server.requests).toEqual([]);
});

describe('what is wrong with the way to a provider', () => {
  it.each<[string, string, string]>([
    ['bytes that are no HTTP', 'SSH-2.0-OpenSSH_9\r\n', 'does not speak HTTP that can be read'],
    ['an alert of TLS', '\x15\x03\x01\x00\x02\x02\x28', 'does not speak HTTP that can be read'],
    ['a go-ahead that nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\n', 'does not speak HTTP that can be read'],
    ['a head of a megabyte', `HTTP/1.1 200 OK\r\nx-a: ${'y'.repeat(1_000_000)}\r\n\r\n`, 'the head of its answer is larger than 64 KB'],
    ['nothing', '', 'the connection was closed without an answer'],
  ])('is told with its place: %s', async (_what, bytes, meaning) => {
    const server = await startRawServer((socket) => socket.end(bytes));
    open.push(server);
    const { last } = await service(server.url)('x');
    expect(last).toMatchObject({ error: { code: 'provider_unavailable', message: expect.stringContaining(meaning) } });
    expect(last).toMatchObject({ error: { message: expect.stringContaining(`p cannot be reached at ${server.url} (`) } });
  });

  it.each([
    ['ECONNREFUSED', 'nothing listens there'],
    ['ENOTFOUND', 'no address is known of that host'],
    ['EAI_AGAIN', 'no address is known of that host'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'name its file under tls.ca'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'name its file under tls.ca'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'name its file under tls.ca'],
    ['CERT_HAS_EXPIRED', 'its certificate has expired'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is that of another host'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'is it http instead of https?'],
  ])('is told in words: %s', (code, meaning) => {
    const cause = Object.assign(new Error('no'), { code });
    const { message } = reachError({ provider: 'p', baseUrl: 'https://models.example/v1?key=secret' }, cause, 'm');
    expect(message).toBe(`p cannot be reached at https://models.example (${code}): ${message.split('): ')[1]}`);
    expect(message).toContain(meaning);
  });

  it('is where a server sends requests on to, which are not followed and cost nothing', async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      const server = await startRawServer((socket) =>
        socket.write(keptAnswer('', `${status} Moved`, 'location: http://elsewhere.example/v1/chat?token=secret-word\r\n')),
      );
      open.push(server);
      const { last, attempts } = await service(server.url)('x');
      const message = `p redirects requests to http://elsewhere.example/v1/chat (status ${status}), which is not followed; check the base URL`;
      expect(last).toMatchObject({ error: { code: 'provider_rejected', message }, usage: { inputTokens: 0, outputTokens: 0 } });
      expect(attempts).toBe(1);
    }
  });

  it('is no head of some tens of kilobytes', async () => {
    const server = await startRawServer((socket) => socket.write(answer.replace('\r\n', `\r\nset-cookie: ${'y'.repeat(40_000)}\r\n`)));
    open.push(server);
    expect(await service(server.url)('x')).toMatchObject({ text: 'Hello', attempts: 1 });
  });

  it('is no answer that it was asked too early', async () => {
    const server = await startRawServer((socket, count) => socket.write(count === 1 ? keptAnswer('', '425 Too Early') : answer));
    open.push(server);
    expect(await service(server.url)('x')).toMatchObject({ text: 'Hello', attempts: 2 });
  });
});
