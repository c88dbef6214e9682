import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Message } from '@nexus-agent/protocol';
import * as o200k from 'gpt-tokenizer/encoding/o200k_base';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createManualClock } from '#core/testing';
import { makeRequest, startServer } from '#llm/testing';
import { createAnthropicProvider } from './anthropic.ts';
import { createOpenAiProvider } from './openai.ts';
import { createOpenAiCompatibleProvider } from './openai-compatible.ts';
import { createTokenizer } from './tokenizer.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

type Handle = (request: IncomingMessage & { body: string }, body: Record<string, unknown>) => { status?: number; body: unknown } | null;

/** A server that counts; it never answers what the handler gives null for. */
async function serve(handle: Handle) {
  const paths: string[] = [];
  const server = await startServer((request, response: ServerResponse) => {
    paths.push(request.url ?? '');
    const said = handle(request, JSON.parse(request.body));
    if (said === null) return;
    response.writeHead(said.status ?? 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(said.body));
  });
  closers.push(server.close);
  return { url: server.url, paths };
}

const signal = () => new AbortController().signal;
const tools = [{ name: 'look_up', description: 'Looks up', inputSchema: { type: 'object', properties: { q: { type: 'string' } } } }];
const request = makeRequest('how many tokens is this?', { system: 'Be brief.', tools });

describe("Anthropic's counter", () => {
  async function open(handle: Handle, clock = systemClock) {
    const server = await serve(handle);
    const provider = createAnthropicProvider({ apiKey: 'key', baseUrl: `${server.url}/v1`, clock });
    closers.push(() => provider.close());
    return { ...server, count: (at = signal()) => provider.countInput({ model: 'claude-x', request }, at) };
  }

  it('is asked what would be sent, without what says how to answer, and is given a little more than it says', async () => {
    const seen: unknown[] = [];
    const { count, paths } = await open((asked, body) => {
      seen.push(Object.keys(body).toSorted(), asked.headers['x-api-key']);
      return { body: { input_tokens: 640 } };
    });
    expect(await count()).toBe(640 + 10 + 16);
    expect(paths).toEqual(['/v1/messages/count_tokens']);
    expect(seen).toEqual([['messages', 'model', 'system', 'tools'], 'key']);
  });

  it.each([
    ['an error', { status: 500, body: {} }],
    ['nothing', { body: {} }],
    ['a text', { body: { input_tokens: '12' } }],
    ['no tokens', { body: { input_tokens: -40 } }],
    ['a list', { body: [] }],
  ])('that says %s counts nothing, and is left alone for a while', async (_what, said) => {
    const clock = createManualClock(0);
    const { count, paths } = await open(() => said, clock);
    expect([await count(), await count()]).toEqual([null, null]);
    expect(paths).toHaveLength(1);
    clock.advance(600_000);
    await count();
    expect(paths).toHaveLength(2);
  });

  it('that does not answer is left at once when nobody waits any more, and asked again the next time', async () => {
    let silent = true;
    const { count } = await open(() => (silent ? null : { body: { input_tokens: 64 } }));
    const leaving = new AbortController();
    const counting = count(leaving.signal);
    setTimeout(() => leaving.abort(), 20);
    expect(await counting).toBeNull();
    silent = false;
    expect(await count()).toBe(64 + 1 + 16);
  });
});

describe("the counter of a server of one's own", () => {
  async function open(handle: Handle, given: Partial<Parameters<typeof createOpenAiCompatibleProvider>[0]> = {}) {
    const server = await serve(handle);
    const options = { name: 'local', baseUrl: `${server.url}/v1`, models: ['m'], countsTokens: true, clock: systemClock, ...given };
    const provider = createOpenAiCompatibleProvider(options);
    closers.push(() => provider.close());
    return { ...server, count: (asked = request) => provider.countInput({ model: 'm', request: asked }, signal()) };
  }
  const vllm: Handle = (asked, body) =>
    asked.url === '/tokenize' && Array.isArray(body.messages)
      ? { body: { count: 40 + (body.tools === undefined ? 0 : 7), tokens: [] } }
      : { status: 404, body: {} };
  const llamaCpp: Handle = (asked, body) => {
    if (asked.url === '/apply-template') return { body: { prompt: `<|user|>${JSON.stringify(body.messages)}` } };
    if (asked.url !== '/tokenize') return { status: 404, body: {} };
    return {
      body: { tokens: typeof body.content === 'string' && body.add_special === true ? Array.from({ length: 33 }, (_, at) => at) : [] },
    };
  };

  it('is that of vLLM, below the address without its version', async () => {
    const { count, paths } = await open(vllm);
    expect([await count(), await count({ ...request, tools: [] })]).toEqual([47, 40]);
    expect(paths).toEqual(['/tokenize', '/tokenize']);
  });

  it('is that of llama.cpp, by its own template, and is found out once', async () => {
    const { count, paths } = await open(llamaCpp);
    expect([await count(), await count()]).toEqual([33, 33]);
    expect(paths).toEqual(['/tokenize', '/apply-template', '/tokenize', '/apply-template', '/tokenize']);
  });

  it('is sent the query of the address, in which gateways want their keys', async () => {
    const answering: Handle = (asked) => ({ body: asked.url === '/tokenize?key=k' ? { count: 40 } : {} });
    const server = await serve(answering);
    const provider = createOpenAiCompatibleProvider({
      name: 'local',
      baseUrl: `${server.url}/v1/?key=k`,
      countsTokens: true,
      clock: systemClock,
    });
    closers.push(() => provider.close());
    expect(await provider.countInput({ model: 'm', request }, signal())).toBe(40);
  });

  it('is not asked about images, which it does not count, nor where nobody said that there is one', async () => {
    const image = { type: 'image' as const, mediaType: 'image/png' as const, data: { base64: 'AAAA' } };
    const seeing = await open(vllm);
    expect(await seeing.count({ ...request, messages: [{ role: 'user', content: [image] }] })).toBeNull();
    const other = await open(vllm, { countsTokens: false });
    expect(await other.count()).toBeNull();
    expect([...seeing.paths, ...other.paths]).toEqual([]);
  });
});

describe('the vocabulary of a model of OpenAI', () => {
  function open() {
    const provider = createOpenAiProvider({ apiKey: 'key', baseUrl: 'http://127.0.0.1:9/v1', clock: systemClock });
    closers.push(() => provider.close());
    return (model: string, asked = request, at = signal()) => provider.countInput({ model, request: asked }, at);
  }
  const said = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });

  it('counts what was said, and a little for what is around it', async () => {
    const count = open();
    const texts = ['The quick brown fox jumps over the lazy dog. '.repeat(40), '3.14159265 <|endoftext|> \u{1f600}'.repeat(10)];
    const exact = o200k.encode(texts.join(''), { disallowedSpecial: new Set() }).length;
    const counted = (await count('gpt-5-mini', { ...request, system: '', tools: [], messages: texts.map(said) })) ?? Number.NaN;
    expect(counted).toBeGreaterThanOrEqual(exact);
    expect(counted).toBeLessThan(exact + 110);
    expect(await count('gpt-4-turbo')).toBeGreaterThan(20);
    expect(await count('gpt-99')).toBeNull();
  });

  it('counts bytes of what a vocabulary would take too long for', async () => {
    const count = open();
    const startedAt = performance.now();
    const long = ['a', ' ', '='].map((of) => said(of.repeat(100_000)));
    const counted = (await count('gpt-5', { ...request, messages: long })) ?? Number.NaN;
    expect(counted).toBeGreaterThanOrEqual(300_000);
    expect(counted).toBeLessThan(301_000);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it('does not hold up whoever leaves, and starts anew after it was stopped', async () => {
    const tokenizer = createTokenizer({ timeoutMs: 1, idleMs: 10 });
    closers.push(() => tokenizer.close());
    expect(await tokenizer.count('o200k_base', ['late'], signal())).toBeNull();
    expect(await tokenizer.count('o200k_base', ['gone'], AbortSignal.abort())).toBeNull();
    const patient = createTokenizer({ idleMs: 1 });
    closers.push(() => patient.close());
    for (let round = 0; round < 2; round++) {
      expect(await patient.count('cl100k_base', ['one two', ''], signal())).toEqual([2, 0]);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
});
