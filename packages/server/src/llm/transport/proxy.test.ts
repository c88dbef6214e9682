import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import type { Provider } from '#llm/attempt';
import { createOpenAiCompatibleProvider } from '#llm/providers';
import { makeRequest, startSecureServer, startServer } from '#llm/testing';
import { startProxy, type TestProxyOptions, trustTestCertificate } from './proxies.testkit.ts';

beforeAll(trustTestCertificate);

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

const chunks = ['data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n', 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'];

function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === '/v1/models') return void response.end('{"data":[{"id":"m"}]}');
  request.resume();
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(`${chunks.join('')}data: [DONE]\n\n`);
}

/** A server behind a proxy, under a name that only the proxy knows. */
async function behind(scheme: 'http' | 'https', options: Omit<TestProxyOptions, 'port'> = {}, userInfo = '') {
  const seen: IncomingMessage[] = [];
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    seen.push(request);
    answer(request, response);
  };
  const plain = scheme === 'http' ? await startServer(handle) : null;
  const server = plain ?? (await startSecureServer(handle));
  const port = 'port' in server ? server.port : Number(new URL(server.url).port);
  const proxy = await startProxy({ port, ...options });
  const address = `${options.secure === true ? 'https' : 'http'}://${userInfo}${options.secure === true ? 'localhost' : '127.0.0.1'}:${proxy.port}`;
  const provider = createOpenAiCompatibleProvider({
    name: 'far',
    baseUrl: `${scheme}://models.test/v1`,
    proxy: address,
    clock: createManualClock(),
    timeouts: { connectTimeoutMs: 300, firstByteTimeoutMs: 700 },
  });
  open.push(server, proxy, provider);
  return { provider, proxy, seen };
}

/** The text of one call, or how it failed. */
function ask(provider: Provider): Promise<{ text: string } | { code: string; message: string; retryable: boolean | undefined }> {
  return new Promise((resolve) => {
    let text = '';
    provider.open(
      { model: 'm', request: makeRequest('x'), maxOutputTokens: 100, timeoutMs: 10_000 },
      {
        delta: (_kind, more) => {
          text += more;
        },
        done: () => resolve({ text }),
        failed: ({ code, message, retryable }) => resolve({ code, message, retryable }),
      },
    );
  });
}

describe('a provider behind a proxy', () => {
  it('is reached by a tunnel when it speaks TLS, and its key is seen by it alone', async () => {
    const { provider, proxy, seen } = await behind('https');
    expect(await ask(provider)).toEqual({ text: 'Hello' });
    expect(proxy.asked).toEqual([{ what: 'CONNECT models.test:443', credentials: undefined }]);
    expect(seen[0]?.headers['proxy-authorization']).toBeUndefined();
    expect(seen[0]?.headers.host).toBe('models.test');
  });

  it('keeps a tunnel for later requests', async () => {
    const { provider, proxy, seen } = await behind('https');
    expect(await provider.models()).toEqual(['m']);
    await new Promise((resolve) => setTimeout(resolve, 20)); // the connection is free a moment after its answer
    expect(await ask(provider)).toEqual({ text: 'Hello' });
    expect(seen).toHaveLength(2);
    expect(proxy.asked).toHaveLength(1);
  });

  it('is asked by the proxy itself when it does not speak TLS, each time on a connection of its own', async () => {
    const { provider, proxy, seen } = await behind('http');
    for (let call = 0; call < 3; call++) expect(await ask(provider)).toEqual({ text: 'Hello' });
    expect(await provider.models()).toEqual(['m']);
    expect(proxy.asked.map(({ what }) => what)).toEqual([
      ...Array.from({ length: 3 }, () => 'POST http://models.test/v1/chat/completions'),
      'GET http://models.test/v1/models',
    ]);
    expect(seen[0]?.headers).toMatchObject({ host: 'models.test' });
  });

  it.each(['http', 'https'] as const)('is reached over %s with credentials, whatever characters they have', async (scheme) => {
    const { provider, proxy, seen } = await behind(scheme, { credentials: 'us@er:p:a/s%s%zz' }, 'us%40er:p%3Aa%2Fs%25s%25zz@');
    expect(await ask(provider)).toEqual({ text: 'Hello' });
    expect(proxy.asked.map(({ credentials }) => credentials)).toEqual(['us@er:p:a/s%s%zz']);
    expect(seen[0]?.headers['proxy-authorization']).toBeUndefined();
  });

  it.each(['http', 'https'] as const)('is reached over %s by a proxy that speaks TLS itself', async (scheme) => {
    const { provider, proxy } = await behind(scheme, { secure: true, credentials: 'u:p' }, 'u:p@');
    expect(await ask(provider)).toEqual({ text: 'Hello' });
    expect(proxy.asked).toHaveLength(1);
  });

  it.each(['http', 'https'] as const)('fails over %s once, and says so, when the proxy wants other credentials', async (scheme) => {
    const { provider, proxy } = await behind(scheme, { credentials: 'right:one' }, 'wrong:secret-word@');
    expect(await ask(provider)).toEqual({
      code: 'provider_unavailable',
      retryable: false,
      message: `far cannot be reached: the proxy 127.0.0.1:${proxy.port} does not take the credentials in its address (407)`,
    });
  });

  it('says how to give credentials to a proxy that was shown none', async () => {
    const { provider } = await behind('https', { credentials: 'right:one' });
    expect(await ask(provider)).toMatchObject({ message: expect.stringContaining('put them into its address, as user:password@') });
  });

  it.each([
    [403, false],
    [405, false],
    [502, true],
    [503, true],
  ])('tells a tunnel that is refused with %i, and whether it may pass', async (status, retryable) => {
    const { provider, proxy } = await behind('https', { answer: status }, 'user:secret-word@');
    expect(await ask(provider)).toEqual({
      code: 'provider_unavailable',
      retryable,
      message: `far cannot be reached: the proxy 127.0.0.1:${proxy.port} does not let the connection through (${status})`,
    });
  });

  it('gives up on a tunnel that the proxy never opens', async () => {
    const { provider, proxy } = await behind('https', { answer: 'hang' }, 'user:secret-word@');
    expect(await ask(provider)).toEqual({
      code: 'provider_timeout',
      retryable: true,
      message: `far cannot be reached: the proxy 127.0.0.1:${proxy.port} did not answer within 300 ms`,
    });
  });

  it('gives up on a proxy that never answers for the server', async () => {
    const { provider } = await behind('http', { answer: 'hang' });
    expect(await ask(provider)).toMatchObject({ code: 'provider_timeout' });
  });

  it.each(['http', 'https'] as const)('fails over %s when the proxy hangs up, instead of trying for ever', async (scheme) => {
    const { provider, proxy } = await behind(scheme, { answer: 'drop' }, 'user:secret-word@');
    const failed = await ask(provider);
    expect(failed).toMatchObject({ code: 'provider_unavailable', message: expect.stringContaining(`127.0.0.1:${proxy.port}`) });
    expect(JSON.stringify(failed)).not.toContain('secret-word');
    expect(proxy.asked).toHaveLength(1);
  });

  it.each(['http', 'https'] as const)('names the proxy when that cannot be reached over %s', async (scheme) => {
    const { provider, proxy } = await behind(scheme, {}, 'user:secret-word@');
    await proxy.close();
    expect(await ask(provider)).toEqual({
      code: 'provider_unavailable',
      retryable: true,
      message: `far cannot be reached: the proxy 127.0.0.1:${proxy.port} cannot be reached (ECONNREFUSED)`,
    });
  });
});
