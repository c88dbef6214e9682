import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService, type ModelService } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider } from '#llm/providers';
import { call, grant, makeRequest, recordGate, startServer } from '#llm/testing';
import { mostExcessTokens } from '#llm/tokens';

const open: { close(): Promise<void> }[] = [];
let asked: ModelService | undefined;
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

const limit = 1_000;
/** Forty words, each in a piece of its own, of which tokenizers make forty tokens. */
const words = Array.from({ length: 40 }, (_, index) => ` ${'abcdefgh'[index % 8]}nd`);
const wordTokens = words.length;

type Wire = 'openai' | 'anthropic';
type Thinks = 'shows all' | 'may think unseen';

const sse = (...events: readonly unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');

// Chat Completions.
const role = { choices: [{ delta: { role: 'assistant', content: '' } }] };
const said = (content: string, more: object = {}) => ({ choices: [{ delta: { content } }], ...more });
const used = (usage: object) => ({ choices: [], usage });
const stop = { choices: [{ delta: {}, finish_reason: 'stop' }] };
const spoken = words.map((word) => said(word));

// Messages.
const begun = (usage: object = { input_tokens: 50, output_tokens: 1 }) => ({ type: 'message_start', message: { content: [], usage } });
const block = (content_block: object, index = 0) => ({ type: 'content_block_start', index, content_block });
const piece = (text: string) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } });
const blockEnd = { type: 'content_block_stop', index: 0 };
const ended = (usage?: object, stop_reason = 'end_turn') => [
  { type: 'message_delta', delta: { stop_reason }, ...(usage === undefined ? {} : { usage }) },
  { type: 'message_stop' },
];
const written = [block({ type: 'text', text: '' }), ...words.map(piece), blockEnd];

async function ask(wire: Wire, thinks: Thinks, answer: (response: ServerResponse) => void) {
  const server = await startServer((_request, response) => answer(response));
  open.push(server);
  const common = { name: 'p', baseUrl: server.url, apiKey: 'k', clock: systemClock, thinksUnseen: () => thinks === 'may think unseen' };
  const provider = wire === 'openai' ? createOpenAiCompatibleProvider({ ...common, price: 'free' }) : createAnthropicProvider(common);
  const llm = createModelService({ providers: [provider], clock: systemClock, random: () => 0, retry: { maxAttempts: 1 } });
  open.push(llm);
  asked = llm;
  const gate = recordGate(() => grant(5_000, limit));
  const { last } = await call(llm, makeRequest('hi'), { models: ['p/m'], gate });
  return last;
}

const stream = (wire: Wire, thinks: Thinks, ...events: readonly unknown[]) =>
  ask(wire, thinks, (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(sse(...events));
  });

const counts = (prompt_tokens: unknown, completion_tokens: unknown, more: object = {}) => ({ prompt_tokens, completion_tokens, ...more });

describe('accounts of a stream of Chat Completions', () => {
  it('that come before the end of the answer are not of the whole of it [verifies budget.unknown.charged]', async () => {
    const events = [role, ...spoken.slice(0, 5), used(counts(50, 5)), ...spoken.slice(5), stop, '[DONE]'];
    const shown = await stream('openai', 'shows all', ...events);
    expect(shown.usage.inputTokens).toBe(50);
    expect(shown.usage.outputTokens).toBeGreaterThanOrEqual(wordTokens);
    const unseen = await stream('openai', 'may think unseen', ...events);
    expect(unseen.usage).toMatchObject({ inputTokens: 50, outputTokens: limit });
    expect(unseen).toMatchObject({ type: 'completed', assumed: ['outputTokens'] });
  });

  it('of the prompt alone leave the answer open, and are believed of the prompt', async () => {
    const last = await stream('openai', 'may think unseen', { ...role, usage: counts(50, 0) }, ...spoken, stop, '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens: 50, outputTokens: limit });
  });

  it('that are of each piece alone are not of the answer', async () => {
    const pieces = words.map((word) => said(word, { usage: counts(50, 3) }));
    const last = await stream('openai', 'may think unseen', ...pieces, stop, '[DONE]');
    expect(last.usage.outputTokens).toBe(limit);
  });

  it('that grow with it are', async () => {
    const pieces = words.map((word, index) => said(word, { usage: counts(50, 2 * index + 2) }));
    const last = await stream('openai', 'may think unseen', ...pieces, stop, '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens: 50, outputTokens: 80 });
    expect(last).not.toHaveProperty('assumed');
  });

  it('of which one says more of the input and one more of the output are both believed', async () => {
    const last = await stream('openai', 'shows all', ...spoken, used(counts(500, 41)), used(counts(50, 400)), stop, '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens: 500, outputTokens: 400 });
  });

  it.each([
    ['beside the completion, as it is more than that', counts(50, 60, { completion_tokens_details: { reasoning_tokens: 300 } }), 360],
    [
      'beside the completion, by the total',
      counts(50, 60, { total_tokens: 160, completion_tokens_details: { reasoning_tokens: 50 } }),
      110,
    ],
    ['in the total alone', counts(50, 60, { total_tokens: 400 }), 350],
    ['within the completion', counts(50, 60, { total_tokens: 110, completion_tokens_details: { reasoning_tokens: 20 } }), 60],
  ])('count reasoning that is stated %s', async (_where, usage, outputTokens) => {
    const last = await stream('openai', 'shows all', ...spoken, stop, used(usage), '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens: 50, outputTokens });
  });

  it.each([
    ['texts', counts('50', '60')],
    ['more than there can be', counts(1e308, 1e308)],
    ['negative', counts(-50, -60)],
    ['lists', counts([50], {})],
    ['nothing', {}],
    ['null', counts(null, null)],
    ['missing in half', { prompt_tokens: 50 }],
  ])('that are %s are none, and the attempt says so', async (_what, usage) => {
    const last = await stream('openai', 'may think unseen', ...spoken, stop, used(usage), '[DONE]');
    expect(last.usage.outputTokens).toBe(limit);
    expect(last.usage.inputTokens).toBeGreaterThan(50);
    expect(last).toMatchObject({ type: 'completed', assumed: ['inputTokens', 'outputTokens'] });
  });

  it('may have fractions, which count in full', async () => {
    const last = await stream('openai', 'shows all', ...spoken, stop, used(counts(50.2, 60.5)), '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens: 51, outputTokens: 61 });
  });

  it('never have more from the cache than was sent', async () => {
    const details = { prompt_tokens_details: { cached_tokens: 9_000, cache_write_tokens: 9_000 } };
    const last = await stream('openai', 'shows all', ...spoken, stop, used(counts(50, 60, details)), '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens: 50, cacheReadTokens: 50, cacheWriteTokens: 0 });
  });

  it.each([
    ['within the prompt', { prompt_tokens_details: { cached_tokens: 20, cache_creation_tokens: 25 } }, 50, 20, 25],
    ['within the prompt, by names of the other format', { cache_read_input_tokens: 20, cache_creation_input_tokens: 25 }, 50, 20, 25],
    ['apart from the prompt', { cache_read_input_tokens: 400, cache_creation_input_tokens: 25 }, 475, 400, 25],
  ])('count what a gateway says of the cache %s', async (_where, cache, inputTokens, cacheReadTokens, cacheWriteTokens) => {
    const last = await stream('openai', 'shows all', ...spoken, stop, used(counts(50, 60, cache)), '[DONE]');
    expect(last.usage).toMatchObject({ inputTokens, cacheReadTokens, cacheWriteTokens });
  });

  it('of more than the limit are booked, and say that it was ignored', async () => {
    const last = await stream('openai', 'shows all', ...spoken, stop, used(counts(50, 9_000)), '[DONE]');
    expect(last).toMatchObject({ type: 'completed', overran: true, usage: { outputTokens: 9_000 } });
  });
});

describe('what a server writes without text', () => {
  const call_ = (index: number, name: string, args = '{}') => ({
    choices: [{ delta: { tool_calls: [{ index, id: `c${index}`, function: { name, arguments: args } }] } }],
  });

  it.each(['{}', ''])('is stopped at the limit: calls whose arguments are "%s"', async (args) => {
    const calls = Array.from({ length: limit * 3 }, (_, index) => call_(index, 'delete_every_single_file_now', args));
    const last = await stream('openai', 'shows all', role, ...calls, stop, used(counts(50, 1)), '[DONE]');
    expect(last).toMatchObject({ type: 'completed', overran: true });
    expect(last.usage.outputTokens).toBeGreaterThanOrEqual(limit);
  });

  const input = { text: words.join('').repeat(10) };
  it('counts: the input of a call where its block begins', async () => {
    const events = [begun(), block({ type: 'tool_use', id: 'c', name: 'f', input }), blockEnd, ...ended({ output_tokens: 2 }, 'tool_use')];
    const last = await stream('anthropic', 'shows all', ...events);
    expect(last).toMatchObject({ type: 'completed', assumed: ['outputTokens'] });
    expect(last.usage.outputTokens).toBeGreaterThanOrEqual(wordTokens * 10);
  });

  it('is stopped at the limit: the input of a call where its block begins', async () => {
    const long = { text: words.join('').repeat(60) };
    const events = [0, 1, 2].flatMap((index) => [
      block({ type: 'tool_use', id: `c${index}`, name: 'f', input: long }, index),
      { type: 'content_block_stop', index },
    ]);
    const last = await stream('anthropic', 'shows all', begun(), ...events, ...ended({ output_tokens: 2 }, 'tool_use'));
    expect(last).toMatchObject({ type: 'completed', overran: true });
  });

  it('counts: the input of a call in an answer in one piece', async () => {
    const last = await ask('anthropic', 'shows all', (response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const content = [{ type: 'tool_use', id: 'c', name: 'f', input }];
      response.end(JSON.stringify({ type: 'message', content, stop_reason: 'tool_use', usage: { input_tokens: 50, output_tokens: 2 } }));
    });
    expect(last.usage.outputTokens).toBeGreaterThanOrEqual(wordTokens * 10);
  });
});

describe('an answer that is too long to be read', () => {
  const prose = 'many words '.repeat(400_000);

  it.each<[string, (response: ServerResponse) => void]>([
    ['an event', (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(sse(role, said(prose)))],
    [
      'a document',
      (response) => {
        const choices = [{ index: 0, message: { role: 'assistant', content: prose }, finish_reason: 'stop' }];
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ choices }));
      },
    ],
  ])(
    'is charged for a chunk beyond its grant, as %s, and not asked for again [verifies hostile.provider.charged]',
    async (_what, answer) => {
      const last = await ask('openai', 'shows all', answer);
      expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_malformed', retryable: false } });
      // What came is far more than was granted: a chunk of that is charged, and no more.
      expect(last.usage.outputTokens).toBe(limit + mostExcessTokens);
      expect(await asked?.resolve(['p/m'])).toMatchObject([{ ignoresLimits: true }]);
    },
  );
});

describe('a body that is too long and says nothing', () => {
  it.each([
    ['blank lines', '\n'],
    ['comments', ': still here\n\n'],
    ['blanks in an event', ' '],
  ])('is charged no more than the limit: %s', async (what, piece) => {
    const begin = what === 'blanks in an event' ? 'data: {' : '';
    const last = await ask('openai', 'may think unseen', (response) => {
      const packed = gzipSync(begin + piece.repeat(8_000_000 / piece.length));
      response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' }).end(packed);
    });
    expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_malformed', retryable: false } });
    expect(last.usage.outputTokens).toBeLessThanOrEqual(what === 'blanks in an event' ? 3_100_000 / 160 : limit);
  });
});

describe('accounts of a stream of Messages', () => {
  it('are of the whole answer at its end', async () => {
    const last = await stream('anthropic', 'may think unseen', begun(), ...written, ...ended({ output_tokens: 90 }));
    expect(last.usage).toMatchObject({ inputTokens: 50, outputTokens: 90 });
    expect(last).not.toHaveProperty('assumed');
  });

  it('that are of the prompt alone leave the answer open, and are believed of the prompt', async () => {
    const last = await stream('anthropic', 'may think unseen', begun(), ...written, ...ended());
    expect(last.usage).toMatchObject({ inputTokens: 50, outputTokens: limit });
    expect(last).toMatchObject({ assumed: ['outputTokens'] });
  });

  it('that come before the end of the answer are not of the whole of it', async () => {
    const early = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 5 } };
    const last = await stream('anthropic', 'may think unseen', begun(), early, ...written, { type: 'message_stop' });
    expect(last.usage).toMatchObject({ inputTokens: 50, outputTokens: limit });
  });

  it('add what was read from the cache and written to it', async () => {
    const usage = { input_tokens: 5, cache_read_input_tokens: 400, cache_creation_input_tokens: 9, output_tokens: 1 };
    const last = await stream('anthropic', 'shows all', begun(usage), ...written, ...ended({ output_tokens: 90 }));
    expect(last.usage).toMatchObject({ inputTokens: 414, cacheReadTokens: 400, cacheWriteTokens: 9 });
  });
});

describe('an answer that had begun is charged, whatever ended it [verifies budget.unknown.charged]', () => {
  const noRoom = { error: { message: 'try later', type: 'rate_limit_exceeded', code: 'rate_limit_exceeded' } };

  it.each([
    ['that there is no room', [role, noRoom]],
    ['the same after a finish reason', [role, { choices: [{ delta: {}, finish_reason: 'stop' }] }, noRoom]],
  ])('the server says %s', async (_what, events) => {
    const last = await stream('openai', 'may think unseen', ...events);
    expect(last).toMatchObject({ type: 'failed', assumed: ['inputTokens', 'outputTokens'], usage: { outputTokens: limit } });
  });

  it('but not one that never began', async () => {
    const last = await stream('openai', 'may think unseen', noRoom);
    expect(last).toMatchObject({ type: 'failed', usage: { inputTokens: 0, outputTokens: 0 } });
    expect(last).not.toHaveProperty('assumed');
  });

  it('nor a redirect, which did no work', async () => {
    const last = await ask('openai', 'may think unseen', (response) => {
      response.writeHead(308, { location: 'https://elsewhere.example/v1/chat/completions' });
      response.end();
    });
    expect(last).toMatchObject({ type: 'failed', usage: { inputTokens: 0, outputTokens: 0 } });
    if (last.type === 'failed') expect(last.error.message).toMatch(/redirect.*base URL/);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['an empty body', (response) => response.end()],
    ['a page', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>busy</html>')],
    [
      'half of a compressed body',
      (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
        response.end(Buffer.from('1f8b0800000000000003', 'hex'));
      },
    ],
    [
      'half of a chunk',
      (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(sse(role));
        setImmediate(() => response.destroy());
      },
    ],
    ['its end before its text', (response) => response.writeHead(200).end(sse('[DONE]', ...spoken, stop))],
  ])('it is %s', async (_what, answer) => {
    const last = await ask('openai', 'may think unseen', answer);
    expect(last).toMatchObject({ type: 'failed', usage: { outputTokens: limit } });
    expect(last.usage.inputTokens).toBeGreaterThan(0);
  });
});
