import { afterEach, describe, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import type { Provider } from '#llm/attempt';
import { createOpenAiCompatibleProvider } from '#llm/providers';
import { makeRequest, startServer } from '#llm/testing';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

async function serve(handle: Parameters<typeof startServer>[0]) {
  const server = await startServer(handle);
  const clock = createManualClock();
  const provider = createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock });
  open.push(server, provider);
  return { provider, clock };
}

/** The text and the end of one call. */
function read(
  provider: Provider,
  maxOutputTokens: number,
  timeoutMs = 10_000,
): Promise<{ readonly chars: number; readonly error: unknown }> {
  return new Promise((resolve) => {
    let chars = 0;
    provider.open(
      { model: 'm', request: makeRequest('x'), maxOutputTokens, timeoutMs },
      {
        delta: (_kind, text) => {
          chars += text.length;
        },
        done: () => resolve({ chars, error: null }),
        failed: (error) => resolve({ chars, error }),
      },
    );
  });
}

describe('the list of models', () => {
  it('is asked for once a minute', async () => {
    let asked = 0;
    const { provider, clock } = await serve((_request, response) => {
      asked += 1;
      response.end(JSON.stringify({ data: [{ id: `model-${asked}` }, { id: 7 }] }));
    });
    expect(await provider.models()).toEqual(['model-1']);
    clock.advance(60_000);
    expect(await provider.lists('model-1')).toBe(true);
    clock.advance(1);
    expect(await provider.models()).toEqual(['model-2']);
    expect(asked).toBe(2);
  });

  it('holds every name whole, however the answer is cut', async () => {
    const names = ['modèle-é', '模型-1', '🦙-7b'];
    const { provider } = await serve(async (_request, response) => {
      for (const byte of Buffer.from(JSON.stringify({ data: names.map((id) => ({ id })) }))) {
        response.write(Uint8Array.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    });
    expect(await provider.models()).toEqual(names);
  });

  it.each<[string, Parameters<typeof startServer>[0]]>([
    ['an error', (_request, response) => response.writeHead(500).end('{"data":[{"id":"a"}]}')],
    ['no JSON', (_request, response) => response.end('<html>')],
    ['another shape', (_request, response) => response.end('{"data":{"id":"a"}}')],
    ['a broken connection', (request) => request.socket.destroy()],
    ['more than anybody lists', (_request, response) => response.end(JSON.stringify({ data: [{ id: 'a' }], pad: 'x'.repeat(8_000_001) }))],
  ])('is empty when the server answers with %s', async (_what, handle) => {
    const { provider } = await serve(handle);
    expect(await provider.models()).toEqual([]);
  });
});

describe('an answer', () => {
  const event = (text: string) => `data: {"choices":[{"delta":{"content":"${text}"}}]}\n\n`;
  /** Bytes that are no part of the answer. */
  const padding = (text: string) => `data: {"choices":[{"delta":{}}],"padding":"${text}"}\n\n`;
  const end = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';
  const stream = (body: string): Parameters<typeof startServer>[0] => {
    return (_request, response) => {
      response.on('error', () => undefined);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(body);
    };
  };
  const bytesFor = (maxOutputTokens: number) => 2_000_000 + 1_024 * maxOutputTokens;

  it('may have as many bytes as its tokens can take, and no more', async () => {
    const events = padding('x'.repeat(900_000)).repeat(2);
    const fits = events + padding('y'.repeat(bytesFor(10) - events.length - padding('').length - end.length)) + end;
    expect(fits.length).toBe(bytesFor(10));
    expect((await read((await serve(stream(fits))).provider, 10)).error).toBeNull();
    expect((await read((await serve(stream(fits.replace('yy', 'yyy')))).provider, 10)).error).toMatchObject({
      code: 'provider_malformed',
      message: `local goes on after ${bytesFor(10)} bytes of an answer of 10 tokens`,
    });
  });

  it('may have ten thousand events, and sixteen for each of its tokens, and no more', async () => {
    const nothing = 'data: {"choices":[]}\n\n';
    const fits = nothing.repeat(10_000 + 16 * 10 - 2) + end;
    expect((await read((await serve(stream(fits))).provider, 10)).error).toBeNull();
    expect((await read((await serve(stream(nothing.repeat(10_160) + end))).provider, 10)).error).toMatchObject({
      code: 'provider_malformed',
      message: 'local goes on after 10160 events of an answer of 10 tokens',
    });
  });

  it('may have events of two million characters, and no longer ones', async () => {
    const longest = event('x'.repeat(2_000_000 - event('').length + 2)); // the two line ends are no part of the line
    expect(await read((await serve(stream(longest + end))).provider, 200_000)).toMatchObject({ error: null });
    const { error } = await read((await serve(stream(longest.replace('xx', 'xxx') + end))).provider, 200_000);
    expect(error).toMatchObject({ code: 'provider_malformed', message: 'local sent an event of more than 2000000 characters' });
  });
});

describe('a server that takes its time', () => {
  /** Sends the head at once, its first byte after `firstMs`, and each of the further chunks after `pauseMs`. */
  async function slow(
    { firstMs, pauseMs }: { firstMs: number; pauseMs: number },
    timeouts: { firstByteTimeoutMs?: number; idleTimeoutMs?: number },
    timeoutMs = 10_000,
  ) {
    const server = await startServer(async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
      await pause(firstMs);
      for (const text of ['one', ' two', ' three']) {
        response.write(`data: {"choices":[{"delta":{"content":"${text}"}}]}\n\n`);
        await pause(pauseMs);
      }
      response.end('data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
    const provider = createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: createManualClock(), timeouts });
    open.push(server, provider);
    return read(provider, 100, timeoutMs);
  }

  it('may think behind the head of its answer for longer than it may pause later', async () => {
    expect(await slow({ firstMs: 400, pauseMs: 0 }, { idleTimeoutMs: 150 })).toEqual({ chars: 13, error: null });
  });

  it('is waited for as long as the call allows, when nothing else is said', async () => {
    const { error } = await slow({ firstMs: 5_000, pauseMs: 0 }, {}, 300);
    expect(error).toMatchObject({ code: 'provider_timeout', details: { limit: 'total' } });
  });

  it('is given up at the limit for its first byte, although its head came at once', async () => {
    const { error } = await slow({ firstMs: 5_000, pauseMs: 0 }, { firstByteTimeoutMs: 100 });
    expect(error).toMatchObject({ code: 'provider_timeout', details: { limit: 'first_byte' } });
  });

  it('is given up when it pauses for too long', async () => {
    const { chars, error } = await slow({ firstMs: 0, pauseMs: 5_000 }, { firstByteTimeoutMs: 3_000, idleTimeoutMs: 100 });
    expect(chars).toBe(3);
    expect(error).toMatchObject({ code: 'provider_timeout', details: { limit: 'idle' } });
  });
});
