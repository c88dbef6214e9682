import type { ErrorCode } from '@nexus-agent/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService, type ModelPart, type ModelService, type Provider } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider, createOpenAiProvider, createSimProvider } from '#llm/providers';
import { type Simulator, startSimulator } from '#llm/sim';
import { call, grant, makeRequest, recordGate, startServer } from '#llm/testing';
import { InputCounts } from '#llm/tokens';

const timeouts = { firstByteTimeoutMs: 300, idleTimeoutMs: 300, connectTimeoutMs: 1_000 };
const script = '[[sim say="one two three four five six seven eight"]]';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

function serve(provider: Provider): ModelService {
  const llm = createModelService({
    providers: [provider],
    clock: systemClock,
    random: () => 0,
    retry: { baseDelayMs: 1, maxAttemptsPerTarget: 2 },
  });
  open.push(llm);
  return llm;
}

describe.each(['openai', 'anthropic'] as const)('faults of a provider that speaks %s', (dialect) => {
  let simulator: Simulator;
  let llm: ModelService;

  beforeAll(async () => {
    simulator = await startSimulator();
    const provider = createSimProvider({ url: simulator.url, clock: systemClock, dialect, timeouts });
    llm = createModelService({
      providers: [provider],
      clock: systemClock,
      random: () => 0,
      retry: { baseDelayMs: 1, maxAttemptsPerTarget: 2 },
    });
  });
  afterAll(async () => {
    await llm.close();
    await simulator.close();
  });

  const afterText: readonly (readonly [string, ErrorCode])[] = [
    ['cut=3', 'provider_stream_cut'],
    ['die=3', 'provider_stream_cut'],
    ['stall=3', 'provider_timeout'],
    ['malformed=3', 'provider_malformed'],
    ['inband=3', 'provider_unavailable'],
    ['flood=3', 'provider_malformed'],
  ];

  it.each(afterText)(`%s after text was seen ends in %s [verifies provider.cut.error provider.malformed]`, async (knob, code) => {
    const { last, text } = await call(llm, makeRequest(script, { idempotencyKey: knob }), {
      models: [`sim-large?${knob}`, 'sim-small'],
    });
    expect(last).toMatchObject({ type: 'failed', attempt: 1, error: { code } });
    expect(text).toBe('one two three');
    expect(last.usage.outputTokens).toBeGreaterThanOrEqual(3);
    expect(last.usage.inputTokens).toBeGreaterThan(0);
  });

  const before: readonly (readonly [string, ErrorCode, number])[] = [
    ['cut=0', 'provider_stream_cut', 2],
    ['die=0', 'provider_stream_cut', 2],
    ['stall=0', 'provider_timeout', 2],
    ['malformed=0', 'provider_malformed', 2],
    ['inband=0', 'provider_unavailable', 2],
    ['flood=0', 'provider_malformed', 1],
    ['latencyMs=2000', 'provider_timeout', 2],
    ['status=500', 'provider_unavailable', 2],
    ['status=503', 'provider_unavailable', 2],
    ['status=529', 'provider_unavailable', 2],
    ['status=408', 'provider_unavailable', 2],
    ['status=409', 'provider_unavailable', 2],
    ['status=429', 'provider_rate_limited', 2],
    ['status=400', 'provider_rejected', 1],
    ['status=404', 'provider_rejected', 1],
    ['status=422', 'provider_rejected', 1],
    ['status=401', 'provider_auth', 1],
    ['status=403', 'provider_auth', 1],
    ['status=413', 'context_overflow', 1],
    ['status=302', 'provider_rejected', 1],
    ['contentType=text/html', 'provider_malformed', 1],
    ['contentType=application/json', 'provider_malformed', 1],
  ];

  it.each(before)(
    '%s before any text is %s after %i attempts here, and the next target answers [verifies provider.retry provider.fallback]',
    async (knob, code, tries) => {
      const gate = recordGate();
      const request = makeRequest(script, { idempotencyKey: `before-${knob}` });
      const { last, text } = await call(llm, request, { models: [`sim-large?${knob}`, 'sim-small'], gate });
      expect(gate.failures.map((failure) => failure.error.code)).toEqual(Array.from({ length: tries }, () => code));
      expect(last).toMatchObject({ type: 'completed', target: { model: 'sim-small' }, attempt: tries + 1 });
      expect(text).toBe('one two three four five six seven eight');

      const alone = await call(llm, { ...request, idempotencyKey: `alone-${knob}` }, { models: [`sim-large?${knob}`] });
      expect(alone.last).toMatchObject({ type: 'failed', attempt: tries, error: { code } });
    },
  );

  it.each([
    ['latencyMs=2000', 'first_byte'],
    ['stall=3', 'idle'],
  ])('a silent server (%s) ends by the limit that is called %s [verifies provider.stall.timeout]', async (knob, limit) => {
    const startedMs = performance.now();
    const { last } = await call(llm, makeRequest(script, { idempotencyKey: `silent-${knob}` }), {
      models: [`sim-large?${knob}`],
      gate: recordGate(() => grant(500)),
    });
    expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_timeout', details: { limit } } });
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(299);
  });

  it('a slow stream ends at the total deadline although something keeps coming [verifies provider.stall.timeout]', async () => {
    const startedMs = performance.now();
    const { last, text } = await call(llm, makeRequest('[[sim say="words" tokens=500]]'), {
      models: ['sim-large?tokensPerSecond=40'],
      gate: recordGate(() => grant(300)),
    });
    expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_timeout', details: { limit: 'total' } } });
    expect(text).not.toBe('');
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  it('a stream without usage is counted, never free [verifies provider.usage]', async () => {
    const gate = recordGate();
    const { last } = await call(llm, makeRequest(script), { models: ['sim-large?noUsage=1'], gate });
    expect(last).toMatchObject({
      type: 'completed',
      usage: { inputTokens: new InputCounts().bound({ tenantId: 't', target: last.target, request: makeRequest(script) }) },
    });
    expect(last.usage.outputTokens).toBeGreaterThanOrEqual(8);
  });

  it('an answer that the provider withheld is content_filtered, with its usage', async () => {
    const { last } = await call(llm, makeRequest('[[sim say="half of" finish=content_filter]]'), { models: ['sim-large', 'sim-small'] });
    expect(last).toMatchObject({ type: 'failed', error: { code: 'content_filtered' }, usage: { outputTokens: 2 } });
  });
});

describe('connections', () => {
  it('a server that never lists its models lists none, after three seconds', async () => {
    const server = await startServer(() => undefined);
    open.push(server);
    const provider = createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: systemClock });
    open.push(provider);
    const startedMs = performance.now();
    expect(await provider.models()).toEqual([]);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(2_990);
    expect(performance.now() - startedMs).toBeLessThan(6_000);
  });

  it('a server that cannot be reached is provider_unavailable, and nothing was sent', async () => {
    const closed = await startServer(() => undefined);
    await closed.close();
    const llm = serve(createOpenAiCompatibleProvider({ name: 'local', baseUrl: `${closed.url}/v1`, clock: systemClock, price: 'free' }));
    const gate = recordGate();
    const { last } = await call(llm, makeRequest('x'), { models: ['local/m'], gate });
    expect(last).toMatchObject({
      error: { code: 'provider_unavailable', message: expect.stringContaining('ECONNREFUSED') },
      usage: { inputTokens: 0 },
    });
    expect(gate.failures[0]?.sent).toBe(false);
  });

  it('takes the end mark for the end although the server keeps the response open, and then closes it', async () => {
    let closed = false;
    const server = await startServer((_request, response) => {
      response.on('close', () => {
        closed = true;
      });
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
    open.push(server);
    const llm = serve(createOpenAiCompatibleProvider({ name: 'local', baseUrl: `${server.url}/v1`, clock: systemClock }));
    const { text } = await call(llm, makeRequest('x'), { models: ['local/m'] });
    expect(text).toBe('hi');
    expect(closed).toBe(false);
    await expect.poll(() => closed, { timeout: 3_000, interval: 20 }).toBe(true);
  });

  it('stops reading while the consumer does not, without calling it a stall', async () => {
    let written = 0;
    const chunk = `data: {"choices":[{"delta":{"content":"${'x'.repeat(60_000)}"}}]}\n\n`;
    const limit = 24 * 1024 * 1024;
    const server = await startServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const write = () => {
        while (!response.destroyed && written < limit) {
          written += chunk.length;
          if (!response.write(chunk)) return;
        }
        response.end('data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
      };
      response.on('drain', write);
      write();
    });
    open.push(server);
    const size = { contextTokens: 3_000_000, maxOutputTokens: 2_000_000 };
    const llm = serve(
      createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: systemClock, timeouts, maxAnswerChars: 1e9, ...size }),
    );
    const targets = await llm.resolve(['local/m']);
    const gate = recordGate(() => grant(10_000, size.maxOutputTokens));
    let stalled: number | null = null;
    let chars = 0;
    const onPart = async (part: ModelPart) => {
      if (part.type !== 'text.delta') return;
      chars += part.text.length;
      if (stalled !== null) return;
      await new Promise((resolve) => setTimeout(resolve, 500)); // longer than the idle timeout
      stalled = written;
    };
    expect((await call(llm, makeRequest('x'), { models: [], targets, gate, onPart })).last.type).toBe('completed');
    expect(stalled).toBeLessThan(limit / 2);
    expect(chars).toBe(Math.ceil(limit / chunk.length) * 60_000);
  });

  it('reads an error that comes with status 200 and JSON', async () => {
    const server = await startServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"error":{"message":"This model\'s maximum context length is 8192 tokens","code":"context_length_exceeded"}}');
    });
    open.push(server);
    const llm = serve(createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: systemClock }));
    expect((await call(llm, makeRequest('x'), { models: ['local/m'] })).last).toMatchObject({ error: { code: 'context_overflow' } });
  });

  it.each([
    ['OpenAI', 400, { error: { message: "This model's maximum context length is 128000 tokens.", code: 'context_length_exceeded' } }],
    [
      'Anthropic',
      400,
      { type: 'error', error: { type: 'invalid_request_error', message: 'prompt is too long: 210000 tokens > 200000 maximum' } },
    ],
    [
      'llama.cpp',
      400,
      { error: { code: 400, message: 'the request exceeds the available context size', type: 'exceed_context_size_error' } },
    ],
    ['Ollama', 400, { error: 'input is too long for the context window' }],
  ])('knows a conversation that is too long from %s', async (_name, status, body) => {
    const server = await startServer((_request, response) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
    );
    open.push(server);
    const llm = serve(createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: systemClock }));
    expect((await call(llm, makeRequest('x'), { models: ['local/m'] })).last).toMatchObject({ error: { code: 'context_overflow' } });
  });

  it('does not retry when the account has no quota left', async () => {
    const server = await startServer((_request, response) => {
      response.writeHead(429, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ error: { message: 'You exceeded your current quota', type: 'insufficient_quota', code: 'insufficient_quota' } }),
      );
    });
    open.push(server);
    const llm = serve(createOpenAiProvider({ apiKey: 'k', baseUrl: server.url, clock: systemClock }));
    const { last } = await call(llm, makeRequest('x'), { models: ['openai/gpt-4o'] });
    expect(last).toMatchObject({ attempt: 1, error: { code: 'provider_rate_limited', retryable: false } });
  });

  it('bounds the body of an error and lets no credential through', async () => {
    const secret = 'sk-proj-abcdefghijklmnop1234567890';
    let seen = '';
    const server = await startServer((request, response) => {
      seen = String(request.headers['x-api-key'] ?? request.headers.authorization);
      const status = request.body.includes('auth') ? 401 : 400;
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          error: { message: `bad field; key ${secret} Authorization: Bearer ${secret} ${'x '.repeat(20_000)}`, type: secret },
        }),
      );
    });
    open.push(server);
    const providers = [
      createOpenAiProvider({ apiKey: secret, baseUrl: server.url, clock: systemClock }),
      createAnthropicProvider({ apiKey: secret, baseUrl: server.url, clock: systemClock }),
    ];
    for (const provider of providers) {
      const llm = serve(provider);
      for (const text of ['x', 'auth']) {
        const { last } = await call(llm, makeRequest(text), { models: [`${provider.name}/m`] });
        expect(seen).toContain(secret);
        const shown = JSON.stringify(last);
        expect(shown).not.toContain('abcdefghijklmnop');
        expect(shown.length).toBeLessThan(2_000);
      }
    }
  });

  it('stops reading an error body that never ends', async () => {
    const server = await startServer((_request, response) => {
      response.writeHead(400, { 'content-type': 'text/plain' });
      const timer = setInterval(() => response.write('y'.repeat(20_000)), 1);
      response.on('close', () => clearInterval(timer));
    });
    open.push(server);
    const llm = serve(createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: systemClock }));
    expect((await call(llm, makeRequest('x'), { models: ['local/m'] })).last).toMatchObject({ error: { code: 'provider_rejected' } });
  });

  it('passes on the trace context, the deadline of months included', async () => {
    let traceparent: unknown;
    const server = await startServer((request, response) => {
      traceparent = request.headers.traceparent;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end('data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
    open.push(server);
    const llm = serve(createOpenAiCompatibleProvider({ name: 'local', baseUrl: server.url, clock: systemClock }));
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const gate = recordGate(() => grant(1e12));
    const { parts } = await call(llm, makeRequest('x'), { models: ['local/m'], gate, traceparent: trace });
    expect(parts.map((part) => part.type)).toEqual(['text.delta', 'completed']);
    expect(traceparent).toBe(trace);
  });
});
