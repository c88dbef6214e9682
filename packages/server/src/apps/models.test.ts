import { afterEach, describe, expect, it } from 'vitest';
import { type ConfigInput, resolveConfig } from '#apps/config';
import { createKeptLog } from '#apps/testing';
import { systemClock } from '#core';
import { call, makeRequest, startServer } from '#llm/testing';
import { silentLogger } from '#telemetry/testing';
import { setUpModels } from './models.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

/** One call of a model whose server takes the time to answer. */
async function callSlow(answerMs: number, own: object, llm: NonNullable<ConfigInput['llm']> = {}) {
  const server = await startServer((_request, response) => {
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end('data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    }, answerMs);
  });
  const compatible = [{ name: 'local', baseUrl: `${server.url}/v1`, models: ['m'], ...own }];
  const flags: ConfigInput = { providers: { compatible }, llm: { maxAttempts: 1, ...llm } };
  const models = await setUpModels(resolveConfig({ env: {}, flags }), systemClock, silentLogger);
  open.push(server, models);
  return (await call(models.llm, makeRequest('x'), { models: ['local/m'] })).last;
}

describe('the patience with a provider', () => {
  it('is that of the call when nothing is configured', async () => {
    expect(resolveConfig({ env: {} }).llm.firstByteTimeoutMs).toBeUndefined();
    expect(await callSlow(300, {})).toMatchObject({ type: 'completed' });
  });

  it('is that of all providers, unless it has its own', async () => {
    const gaveUp = { type: 'failed', error: { code: 'provider_timeout', details: { limit: 'first_byte' } } };
    expect(await callSlow(500, {}, { firstByteTimeoutMs: 50 })).toMatchObject(gaveUp);
    expect(await callSlow(500, { firstByteTimeoutMs: 50 })).toMatchObject(gaveUp);
    expect(await callSlow(200, { firstByteTimeoutMs: 5_000 }, { firstByteTimeoutMs: 50 })).toMatchObject({ type: 'completed' });
  });
});

describe('what is found out of a model', () => {
  /** Two calls of a model; its server answers by what it is sent. */
  async function callTwice(
    answer: (body: Record<string, unknown>) => { readonly status: number; readonly text: string },
    own: object = {},
  ) {
    const { logger, lines } = createKeptLog();
    const server = await startServer((request, response) => {
      if (request.method === 'GET') return void response.end('{"data":[]}');
      const { status, text } = answer(JSON.parse(request.body));
      response.writeHead(status, { 'content-type': status === 200 ? 'text/event-stream' : 'application/json' }).end(text);
    });
    const compatible = [{ name: 'local', baseUrl: `${server.url}/v1`, models: ['m'], ...own }];
    const models = await setUpModels(resolveConfig({ env: {}, flags: { providers: { compatible } } }), systemClock, logger);
    open.push(server, models);
    for (let count = 0; count < 2; count++) await call(models.llm, makeRequest('x', { temperature: 0.5 }), { models: ['local/m'] });
    return { models, lines: lines.filter(({ level }) => level === 'warn') };
  }
  const said = (text: string) => `data: {"choices":[{"delta":{"content":"${text}"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n`;

  it('is told once: a feature that is done without', async () => {
    const { lines } = await callTwice((body) =>
      'temperature' in body
        ? { status: 400, text: '{"error":{"message":"temperature is not supported"}}' }
        : { status: 200, text: said('ok') },
    );
    expect(lines).toMatchObject([
      { fields: { provider: 'local', model: 'm', features: ['temperature'] }, message: expect.stringContaining('refused') },
    ]);
  });

  it('is told once: that it goes on beyond its limit', async () => {
    const { lines } = await callTwice(() => ({ status: 200, text: said('word '.repeat(3_000)) }));
    expect(lines).toMatchObject([{ fields: { provider: 'local', model: 'm' }, message: expect.stringContaining('ignores the limit') }]);
  });

  it('is told once: that it takes less than was thought', async () => {
    const { lines } = await callTwice(() => ({ status: 400, text: '{"error":{"message":"maximum context length is 512 tokens"}}' }));
    expect(lines).toMatchObject([
      {
        fields: { provider: 'local', model: 'm', contextTokens: 512, thoughtTokens: 128_000 },
        message: 'a model takes less than was thought',
      },
    ]);
  });
});

it.each([
  ['a machine of one’s own shows what its models write', {}, false],
  ['a provider may say that they think unseen', { thinksUnseen: true }, true],
  ['one with a price may think unseen', { price: { inputMicroUsdPerMillion: 1, outputMicroUsdPerMillion: 1 } }, true],
  ['and may say that it does not', { price: { inputMicroUsdPerMillion: 1, outputMicroUsdPerMillion: 1 }, thinksUnseen: false }, false],
  ['a model may differ from its provider', { thinksUnseen: true, models: [{ id: 'm', thinksUnseen: false }] }, false],
])('%s', async (_what, own, expected) => {
  const compatible = [{ name: 'local', baseUrl: 'http://127.0.0.1:9/v1', models: ['m'], ...own }];
  const models = await setUpModels(resolveConfig({ env: {}, flags: { providers: { compatible } } }), systemClock, silentLogger);
  open.push(models);
  expect(await models.llm.resolve(['local/m'])).toMatchObject([{ thinksUnseen: expected }]);
});

it('does not use a connection that servers in Python may be closing', async () => {
  const ports = new Set<number | undefined>();
  const server = await startServer((request, response) => {
    ports.add(request.socket.remotePort);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end('data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
  });
  const models = await setUpModels(
    resolveConfig({ env: {}, flags: { providers: { compatible: [{ name: 'local', baseUrl: `${server.url}/v1`, models: ['m'] }] } } }),
    systemClock,
    silentLogger,
  );
  open.push(server, models);
  const ask = () => call(models.llm, makeRequest('x'), { models: ['local/m'] });
  await ask();
  await ask();
  const before = ports.size;
  await new Promise((resolve) => setTimeout(resolve, 4_800));
  await ask();
  expect(ports.size).toBe(before + 1);
}, 15_000);

describe('the list of a server', () => {
  async function withList(address: (url: string) => string, flags: (baseUrl: string) => ConfigInput) {
    const server = await startServer((_request, response) => {
      response.end('{"data":[{"id":"some-embed"},{"id":"large:latest","max_model_len":9000}]}');
    });
    const models = await setUpModels(resolveConfig({ env: {}, flags: flags(address(server.url)) }), systemClock, silentLogger);
    open.push(server, models);
    await models.llm.list(); // as a person does who looks
    return (ref: string) =>
      models.llm.resolve([ref]).then(
        ([target]) => `${target?.provider}/${target?.model} ${target?.contextTokens}`,
        (error) => error.code,
      );
  }
  const here = (url: string) => `${url}/v1`;
  const elsewhere = (url: string) => `${url.replace('127.0.0.1', '0.0.0.0')}/v1`; // no address that is known to be this machine's
  const compatible = (own: object) => (baseUrl: string) => ({ providers: { compatible: [{ name: 'lab', baseUrl, ...own }] } });

  it('is believed of a machine of one’s own: what is not on it is not served', async () => {
    const resolve = await withList(here, compatible({}));
    expect(await resolve('lab/large')).toBe('lab/large 9000');
    expect(await resolve('lab/other')).toBe('model_not_found');
    expect(await resolve('default')).toBe('lab/large:latest 9000');
  });

  it('is believed where all is free, and not before what the configuration names', async () => {
    const resolve = await withList(elsewhere, compatible({ price: 'free', models: ['own'] }));
    await expect.poll(() => resolve('lab/other')).toBe('model_not_found'); // nobody waits for the list
    expect(await resolve('lab/own')).toBe('lab/own 128000');
    expect(await resolve('default')).toBe('lab/own 128000');
  });

  it('is not believed of a gateway, which serves more than it lists', async () => {
    const resolve = await withList(elsewhere, compatible({}));
    expect(await resolve('lab/large:latest')).toBe('lab/large:latest 9000');
    expect(await resolve('lab/large:free')).toBe('lab/large:free 128000');
    const openai = await withList(elsewhere, (baseUrl) => ({ providers: { openai: { apiKey: 'k', baseUrl } } }));
    expect(await openai('openai/my-deployment')).toBe('openai/my-deployment 128000');
    expect(await openai('default')).toMatch(/^openai\/gpt-5-mini /);
  });

  it('finds the default of OpenAI’s address where a local server stands behind it', async () => {
    const openai = await withList(here, (baseUrl) => ({ providers: { openai: { apiKey: 'k', baseUrl } } }));
    expect(await openai('default')).toBe('openai/large:latest 9000');
  });
});

describe('what a call is bounded by', () => {
  const price = { inputMicroUsdPerMillion: 1_000_001, outputMicroUsdPerMillion: 2_000_000 };

  async function targetOf(flags: ConfigInput, ref: string) {
    const models = await setUpModels(resolveConfig({ env: {}, flags }), systemClock, silentLogger);
    open.push(models);
    return (await models.llm.resolve([ref]))[0];
  }

  it('has what every request says besides, as models may be shown it', async () => {
    const server = (extraBody: object) => ({
      providers: { compatible: [{ name: 'gate', baseUrl: 'http://10.1.1.1/v1', models: ['m'], extraBody: { ...extraBody } }] },
    });
    const documents = Array.from({ length: 50 }, (_, index) => ({ title: `t${index}`, text: 'words of a document '.repeat(20) }));
    const [plain, wordy] = [await targetOf(server({}), 'gate/m'), await targetOf(server({ documents }), 'gate/m')];
    const more = (wordy?.templateTokens ?? 0) - (plain?.templateTokens ?? 0);
    expect(more).toBeGreaterThanOrEqual(JSON.stringify(documents).length);
  });

  it('allows for the templates and images of any model where another server stands under the name of a provider', async () => {
    const openai = (baseUrl: string) => targetOf({ providers: { openai: { apiKey: 'k', baseUrl } } }, 'openai/qwen-vl');
    const [own, other] = [await openai('https://api.openai.com/v1'), await openai('http://10.1.1.1/v1')];
    expect(other?.templateTokens ?? 0).toBeGreaterThan(own?.templateTokens ?? 0);
    expect(other?.imageTokens ?? 0).toBeGreaterThan(own?.imageTokens ?? 0);
    const anthropic = (baseUrl: string) => targetOf({ providers: { anthropic: { apiKey: 'k', baseUrl } } }, 'anthropic/glm');
    const [theirs, foreign] = [await anthropic('https://api.anthropic.com'), await anthropic('http://10.1.1.1')];
    expect(foreign?.templateTokens ?? 0).toBeGreaterThan(theirs?.templateTokens ?? 0);
    expect(foreign?.imageTokens ?? 0).toBeGreaterThan(theirs?.imageTokens ?? 0);
  });

  it('is told whether models of Anthropic’s format think unseen', async () => {
    const thinking = async (own: object) =>
      (await targetOf({ providers: { anthropic: { apiKey: 'k', ...own } } }, 'anthropic/m'))?.thinksUnseen;
    expect(await thinking({})).toBe(false);
    expect(await thinking({ thinking: 'adaptive' })).toBe(true);
    expect(await thinking({ thinksUnseen: true })).toBe(true);
    expect(await thinking({ thinking: 'adaptive', thinksUnseen: false })).toBe(false);
  });

  it('has what writing to the cache costs where the configured price does not say it', async () => {
    const prices = { 'anthropic/m': price, 'gate/m': price, 'anthropic/n': { ...price, cacheWriteMicroUsdPerMillion: 7 } };
    const compatible = [{ name: 'gate', baseUrl: 'http://10.1.1.1/v1', models: ['m'] }];
    const written = async (ref: string) =>
      (await targetOf({ prices, providers: { compatible, anthropic: { apiKey: 'k' } } }, ref))?.price?.cacheWriteMicroUsdPerMillion;
    expect(await written('anthropic/m')).toBe(1_250_002);
    expect(await written('gate/m')).toBe(price.inputMicroUsdPerMillion);
    expect(await written('anthropic/n')).toBe(7);
  });

  it('has no price by the list where members of the requests make it another', async () => {
    const priceOf = async (extraBody: Record<string, unknown>, prices: ConfigInput['prices'] = {}) =>
      (await targetOf({ prices, providers: { openai: { apiKey: 'k', extraBody } } }, 'openai/gpt-4o'))?.price;
    expect(await priceOf({ top_p: 1, service_tier: 'flex' })).not.toBeNull();
    for (const apart of [{ service_tier: 'priority' }, { service_tier: 'auto' }, { web_search_options: {} }]) {
      expect(await priceOf(apart)).toBeNull();
      expect(await priceOf(apart, { 'openai/gpt-4o': price })).toMatchObject(price);
    }
  });

  it('names the price that is spelt most like a model that has none', async () => {
    const compatible = [{ name: 'gate', baseUrl: 'http://10.1.1.1/v1', models: ['large-2', 'other'] }];
    const flags = { providers: { compatible }, prices: { 'gate/large2': price, 'gate/small': price } };
    expect(await targetOf(flags, 'gate/large-2')).toMatchObject({ price: null, nearPrice: 'gate/large2' });
    expect(await targetOf({ ...flags, prices: {} }, 'gate/other')).not.toHaveProperty('nearPrice');
  });
});
