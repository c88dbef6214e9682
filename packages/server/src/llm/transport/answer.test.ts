import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider } from '#llm/providers';
import { call, grant, makeRequest, recordGate, startServer } from '#llm/testing';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

type Wire = 'openai' | 'anthropic';
type Body = string | Buffer | readonly (string | Buffer)[];

interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  readonly maxOutputTokens?: number;
  readonly status?: number;
  readonly onPart?: () => Promise<void>;
}

/** One call of a server that gives this answer to everything; a list is sent piece by piece. */
async function ask(
  wire: Wire,
  body: Body,
  { headers = { 'content-type': 'text/event-stream' }, maxOutputTokens = 1_000, status = 200, onPart }: Sent = {},
) {
  let asked = 0;
  const server = await startServer((_request, response) => {
    asked += 1;
    response.on('error', () => undefined);
    response.writeHead(status, headers);
    void sendPieces(response, typeof body === 'string' || Buffer.isBuffer(body) ? [body] : body);
  });
  const options = { baseUrl: server.url, clock: systemClock };
  const provider =
    wire === 'openai'
      ? createOpenAiCompatibleProvider({ name: 'p', contextTokens: 4_000_000, maxOutputTokens: 4_000_000, ...options })
      : createAnthropicProvider({ name: 'p', apiKey: 'k', ...options });
  const llm = createModelService({
    providers: [provider],
    clock: systemClock,
    random: () => 0,
    retry: { baseDelayMs: 1, maxAttemptsPerTarget: 3 },
  });
  open.push(server, llm);
  const called = await call(llm, makeRequest('x'), {
    models: ['p/m'],
    gate: recordGate(() => grant(10_000, maxOutputTokens)),
    ...(onPart === undefined ? {} : { onPart }),
  });
  return { ...called, asked };
}

async function sendPieces(response: ServerResponse, pieces: readonly (string | Buffer)[]): Promise<void> {
  for (const piece of pieces) {
    if (response.destroyed) return;
    if (!response.write(piece)) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
    if (pieces.length > 1) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  response.end();
}

const json = { headers: { 'content-type': 'application/json' } };
const sse = (...events: readonly unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');
const chunk = (content: string, finish_reason: unknown = null, more: object = {}) => ({
  id: 'r',
  choices: [{ index: 0, delta: { content }, finish_reason }],
  ...more,
});
const counts = { prompt_tokens: 5_000, completion_tokens: 300, total_tokens: 5_300 };
const account = { inputTokens: 5_000, outputTokens: 300 };

const completion = {
  id: 'r',
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', content: 'plain' }, finish_reason: 'stop' }],
  usage: counts,
};
const message = {
  type: 'message',
  role: 'assistant',
  content: [
    { type: 'thinking', thinking: 'hm', signature: 'sig' },
    { type: 'text', text: 'plain' },
    { type: 'tool_use', id: 'a', name: 'f', input: { k: 1 } },
  ],
  stop_reason: 'tool_use',
  usage: { input_tokens: 5_000, output_tokens: 300 },
};
const streams = {
  openai: sse(chunk('plain'), chunk('', 'stop', { usage: counts }), '[DONE]'),
  anthropic: sse(
    { type: 'message_start', message: { content: [], usage: { input_tokens: 5_000, output_tokens: 1 } } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'plain' } },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 300 } },
    { type: 'message_stop' },
  ),
};
const wires = ['openai', 'anthropic'] as const;
const plain = { text: 'plain', asked: 1, last: { type: 'completed', usage: account } };

describe('streams of servers in the field', () => {
  const file = (name: string) => readFileSync(new URL(`../../../../../test/cases/${name}`, import.meta.url));
  const eachByte = (bytes: Buffer) =>
    Array.from({ length: Math.ceil(bytes.length / 97) }, (_, at) => bytes.subarray(at * 97, at * 97 + 97));

  it.each<[string, Wire, object]>([
    ['id-changes.openai.sse', 'openai', { last: { content: [{ type: 'tool_call', name: 'fs_list', input: { path: '.' } }] } }],
    ['arguments-null.openai.sse', 'openai', { last: { content: [{ type: 'tool_call', name: 'fs_list', input: {} }] } }],
    ['heartbeat.openai.sse', 'openai', { text: 'All is well.' }],
    ['heartbeat.anthropic.sse', 'anthropic', { text: 'All is well.' }],
    ['half-characters.openai.sse', 'openai', { text: 'go 🚀 up' }],
    ['half-characters.anthropic.sse', 'anthropic', { text: 'go 🚀 up' }],
    ['content-list.openai.sse', 'openai', { text: 'Hello', reasoning: 'It greets. I greet.' }],
  ])('%s is answered at once, in one piece or in many', async (name, wire, expected) => {
    const answered = { asked: 1, ...expected };
    const usage = { inputTokens: 40, outputTokens: 8 };
    for (const body of [file(name), eachByte(file(name))]) {
      const { parts, ...called } = await ask(wire, body);
      expect(called).toMatchObject(answered);
      expect(called.last).toMatchObject({ type: 'completed', usage });
      for (const part of parts) expect('text' in part ? part.text.isWellFormed() : true).toBe(true);
    }
  });

  it('json-instead-of-stream.json is paid once, and used', async () => {
    expect(await ask('openai', file('json-instead-of-stream.json'), json)).toMatchObject(plain);
  });
});

it('half a character at the very end leaves as a whole one, before the answer', async () => {
  for (const wire of wires) {
    const { text, last } = await ask(wire, streams[wire].replace('plain', 'plain\\ud83d'));
    expect(text).toBe('plain\ufffd');
    expect(last).toMatchObject({ type: 'completed', content: [{ type: 'text', text }] });
  }
});

describe('an answer in one piece', () => {
  it.each(
    Object.entries({
      'its own content type': json,
      'a content type with a parameter': { headers: { 'content-type': 'application/json; charset=utf-8' } },
      'no content type': { headers: {} },
      'that of a stream': {},
      'that of text': { headers: { 'content-type': 'text/plain' } },
    }),
  )('is used, with %s', async (_what, sent) => {
    expect(await ask('openai', JSON.stringify(completion), sent)).toMatchObject(plain);
    expect(await ask('anthropic', JSON.stringify(message), sent)).toMatchObject({
      ...plain,
      reasoning: 'hm',
      last: {
        type: 'completed',
        finishReason: 'tool_calls',
        usage: account,
        content: [
          { type: 'reasoning', text: 'hm', signature: 'sig' },
          { type: 'text', text: 'plain' },
          { type: 'tool_call', name: 'f', input: { k: 1 } },
        ],
      },
    });
  });

  it('is used when it comes slowly, after blank lines, with a mark of its bytes, with an end mark, or within an event', async () => {
    const text = JSON.stringify(completion);
    expect(await ask('openai', ['\n', '\n', ' ', text.slice(0, 1), text.slice(1, 90), text.slice(90)], json)).toMatchObject(plain);
    expect(await ask('openai', `\ufeff${text}`, json)).toMatchObject(plain);
    expect(await ask('openai', `${text}\n\ndata: [DONE]\n\n`)).toMatchObject(plain);
    expect(await ask('openai', sse(completion, '[DONE]'))).toMatchObject(plain);
    expect(await ask('anthropic', sse(message))).toMatchObject({ text: 'plain', asked: 1, last: { type: 'completed', usage: account } });
  });

  it.each<[string, Wire, unknown]>([
    ['no choice', 'openai', { choices: [], usage: counts }],
    ['nothing but usage', 'openai', { usage: counts }],
    ['a message of the other format', 'openai', message],
    ['a completion of the other format', 'anthropic', completion],
    [
      'content of an unknown kind',
      'openai',
      { choices: [{ message: { content: [{ type: 'holo', text: 'lost' }] }, finish_reason: 'stop' }], usage: counts },
    ],
    ['a block of an unknown kind', 'anthropic', { ...message, content: [{ type: 'holo', text: 'lost' }] }],
  ])('that has %s is refused once, and paid as it says', async (_what, wire, body) => {
    expect(await ask(wire, JSON.stringify(body), json)).toMatchObject({
      asked: 1,
      last: { type: 'failed', error: { code: 'provider_malformed', retryable: false }, usage: account },
    });
  });

  it.each([`${'['.repeat(9_000)}${']'.repeat(9_000)}`, '{}', '[]', 'null', '"ok"', '{"status":"ok"}'])(
    'that is %s is refused once',
    async (body) => {
      expect(await ask('openai', body, json)).toMatchObject({
        asked: 1,
        last: { error: { code: 'provider_malformed', retryable: false } },
      });
      expect(await ask('anthropic', body, json)).toMatchObject({
        asked: 1,
        last: { error: { code: 'provider_malformed', retryable: false } },
      });
    },
  );

  it('that is cut off is asked for again', async () => {
    expect(await ask('openai', JSON.stringify(completion).slice(0, 90), json)).toMatchObject({
      asked: 3,
      last: { error: { code: 'provider_malformed' } },
    });
  });
});

describe('a body', () => {
  it.each(wires)('that is a stream of %s is read under any content type', async (wire) => {
    for (const type of ['text/plain', 'application/json', 'application/octet-stream', 'Text/Event-Stream; charset=utf-8', '']) {
      expect(await ask(wire, streams[wire], { headers: type === '' ? {} : { 'content-type': type } })).toMatchObject(plain);
    }
    expect(
      await ask(wire, [': ', 'ok\n\n', 'd', 'a', 't', streams[wire].slice(3)], { headers: { 'content-type': 'text/plain' } }),
    ).toMatchObject(plain);
    expect(await ask(wire, streams[wire].replace(/\n\n$/, ''))).toMatchObject(plain);
  });

  it.each([
    ['text/html', '<html>sign in</html>'],
    ['application/json', ' \n<!doctype html>'],
    ['text/event-stream', '<html>'],
    ['text/plain', 'no healthy upstream'],
    ['text/plain', 'ok'],
    ['application/json', ''],
  ])('that is no answer (%s, %s) is refused as such', async (type, body) => {
    const { last } = await ask('openai', body, { headers: { 'content-type': type } });
    expect(last).toMatchObject({
      error: {
        code: 'provider_malformed',
        message: `p answered with ${body.includes('<') ? 'a page' : type} (status 200) instead of an event stream; check the base URL`,
      },
    });
  });

  const compress = { gzip: gzipSync, 'x-gzip': gzipSync, br: brotliCompressSync, deflate: deflateSync, zstd: zstdCompressSync } as const;

  it.each(Object.entries(compress))('in %s is read, though nobody asked for it', async (encoding, compressed) => {
    const headers = { 'content-type': 'text/event-stream', 'content-encoding': encoding };
    for (const wire of wires) {
      const bytes = compressed(streams[wire]);
      expect(await ask(wire, bytes, { headers })).toMatchObject(plain);
      expect(
        await ask(
          wire,
          Array.from(bytes, (byte) => Buffer.from([byte]))
            .slice(0, 40)
            .concat(bytes.subarray(40)),
          { headers },
        ),
      ).toMatchObject(plain);
    }
    const whole = { ...json.headers, 'content-encoding': encoding };
    expect(await ask('openai', compressed(JSON.stringify(completion)), { headers: whole })).toMatchObject(plain);
    const refused = compressed(JSON.stringify({ error: { message: 'too many tokens', code: 'context_length_exceeded' } }));
    expect((await ask('openai', refused, { headers: whole, status: 400 })).last).toMatchObject({ error: { code: 'context_overflow' } });
  });

  it('in the bare form of deflate, twice compressed, or not compressed whatever is said is read', async () => {
    const coded = (encoding: string) => ({ headers: { 'content-type': 'text/event-stream', 'content-encoding': encoding } });
    expect(await ask('openai', deflateRawSync(streams.openai), coded('deflate'))).toMatchObject(plain);
    expect(await ask('openai', brotliCompressSync(gzipSync(streams.openai)), coded('gzip, br'))).toMatchObject(plain);
    expect(await ask('openai', streams.openai, coded('identity, utf-8'))).toMatchObject(plain);
  });

  it('that is compressed and large is read whole, at the pace of the reader', async () => {
    const texts = Array.from({ length: 600 }, () => randomBytes(1_500).toString('base64'));
    const bytes = gzipSync(sse(...texts.map((text) => chunk(text)), chunk('', 'stop'), '[DONE]'));
    const pieces = Array.from({ length: Math.ceil(bytes.length / 60_000) }, (_, at) => bytes.subarray(at * 60_000, (at + 1) * 60_000));
    let seen = 0;
    const onPart = async () => {
      seen += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    const headers = { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' };
    const { text, last } = await ask('openai', pieces, { headers, onPart, maxOutputTokens: 4_000_000 });
    expect(last.type).toBe('completed');
    expect(text === texts.join('')).toBe(true);
    expect(seen).toBeGreaterThan(3);
  });

  it('that cannot be decompressed is refused', async () => {
    const coded = (encoding: string) => ({ headers: { 'content-type': 'text/event-stream', 'content-encoding': encoding } });
    expect(await ask('openai', streams.openai, coded('gzip'))).toMatchObject({ asked: 3, last: { error: { code: 'provider_malformed' } } });
    expect(await ask('openai', streams.openai, coded('lzw'))).toMatchObject({ asked: 1, last: { error: { code: 'provider_malformed' } } });
    expect(await ask('openai', gzipSync(streams.openai).subarray(0, 60), coded('gzip'))).toMatchObject({
      asked: 3,
      last: { error: { code: 'provider_stream_cut' } },
    });
    expect((await ask('openai', 'no', { ...coded('lzw'), status: 401 })).last).toMatchObject({ error: { code: 'provider_auth' } });
  });

  it('that grows without end when it is decompressed ends at the bound of every answer', async () => {
    const bomb = gzipSync(Buffer.concat([Buffer.from(sse(chunk('hi'))), Buffer.alloc(300_000_000, ': still here\n')]), { level: 1 });
    const before = process.memoryUsage().rss;
    const { last } = await ask('openai', bomb, {
      headers: { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' },
      maxOutputTokens: 10,
    });
    expect(last).toMatchObject({
      error: { code: 'provider_malformed', message: 'p goes on after 2010240 bytes of an answer of 10 tokens' },
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  });
});

describe('the end of a stream', () => {
  const content = sse(chunk('plain'));

  it.each<[string, string, string]>([
    ['a reason in a chunk of its own', content + sse({ choices: [{ finish_reason: 'stop' }] }, '[DONE]'), 'stop'],
    ['empty reasons, then one', sse(chunk('pl', ''), chunk('ain', ''), chunk('', 'stop'), '[DONE]'), 'stop'],
    ['no reason, but the end mark', content + sse('[DONE]'), 'stop'],
    ['an empty reason, and the end mark', content + sse(chunk('', ''), '[DONE]'), 'stop'],
    ['a reason that is no word, and the end mark', content + sse(chunk('', { type: 'stop' }), '[DONE]'), 'stop'],
    ['a reason in every chunk, and the end mark', sse(chunk('pl', 'stop'), chunk('ain', 'stop'), '[DONE]'), 'stop'],
    ['a reason of the other format', content + sse(chunk('', 'MAX_TOKENS'), '[DONE]'), 'length'],
    ['a cut that a later chunk calls an end', content + sse(chunk('', 'length'), chunk('', 'stop'), '[DONE]'), 'length'],
    ['calls that are none', content + sse(chunk('', 'tool_calls'), '[DONE]'), 'stop'],
  ])('is understood: %s', async (_what, body, finishReason) => {
    expect(await ask('openai', body)).toMatchObject({ text: 'plain', asked: 1, last: { type: 'completed', finishReason } });
  });

  it.each<[string, Wire, string]>([
    ['nothing but the end mark', 'openai', sse('[DONE]')],
    ['no reason and no end mark', 'openai', content],
    ['content after its reason, and no end mark', 'openai', sse(chunk('pl', 'stop'), chunk('ain'))],
    ['a reason that is not known', 'openai', content + sse(chunk('', 'aborted'), '[DONE]')],
    [
      'the middle of a call, no reason, and the end mark',
      'openai',
      sse({ choices: [{ delta: { tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '{"k' } }] } }] }, '[DONE]'),
    ],
    ['a last event that is cut off', 'openai', `${content}data: {"choices":[{"delta":{},"finish_re`],
    ['a reason that is not known', 'anthropic', streams.anthropic.replace('end_turn', 'pause_turn')],
    ['no last event', 'anthropic', streams.anthropic.replace('message_stop', 'ping')],
    [
      'the end mark of the other format, and no reason',
      'anthropic',
      streams.anthropic.replace('end_turn', '').replace('{"type":"message_stop"}', '[DONE]'),
    ],
  ])('is a cut: %s (%s)', async (_what, wire, body) => {
    expect((await ask(wire, body)).last).toMatchObject({ type: 'failed', error: { code: 'provider_stream_cut' } });
  });

  it('is understood on the other wire: no reason, one of the other format, its end mark, or calls that are none', async () => {
    for (const [from, to] of [
      ['"end_turn"', 'null'],
      ['end_turn', 'stop'],
      ['end_turn', 'tool_use'],
      ['{"type":"message_stop"}', '[DONE]'],
    ] as const) {
      expect(await ask('anthropic', streams.anthropic.replace(from, to))).toMatchObject({ ...plain, last: { finishReason: 'stop' } });
    }
  });
});

describe('an error', () => {
  const limited = { code: 'provider_rate_limited' };
  const shapes: readonly (readonly [string, unknown, object])[] = [
    ['a text', { error: 'the model does not fit the context window' }, { code: 'context_overflow' }],
    ['an object', { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }, { code: 'provider_unavailable' }],
    ['a number as its code', { error: { code: 429, message: 'slow down' } }, limited],
    ['a number as text', { error: { code: '429', message: 'slow down' } }, limited],
    ['a status in words', { error: { status: 'RESOURCE_EXHAUSTED', message: 'slow down' } }, limited],
    ['a list', { errors: [{ code: 401, message: 'who are you' }] }, { code: 'provider_auth' }],
    ['no level of its own', { object: 'error', message: 'slow down', code: 429 }, limited],
    ['a message alone', { message: 'out of memory' }, { code: 'provider_unavailable', message: 'p failed: out of memory' }],
    ['a detail', { detail: [{ msg: 'out of memory' }] }, { code: 'provider_unavailable', message: 'p failed: out of memory' }],
  ];
  const begin = {
    openai: sse(chunk('plain', null, { usage: counts })),
    anthropic: streams.anthropic.slice(0, streams.anthropic.indexOf('data: {"type":"content_block_stop"')),
  };

  it.each(shapes)('in the middle of a stream that is %s is the error of the answer, with its account', async (_what, body, error) => {
    for (const wire of wires) {
      const { last, text } = await ask(wire, begin[wire] + sse(body, '[DONE]'));
      expect(text).toBe('plain');
      expect(last).toMatchObject({ type: 'failed', error, usage: { inputTokens: 5_000 } });
    }
  });

  it.each(shapes)('in one piece that is %s is the error of the answer', async (_what, body, error) => {
    for (const wire of wires) expect((await ask(wire, JSON.stringify(body), json)).last).toMatchObject({ type: 'failed', error });
    expect((await ask('openai', JSON.stringify([body]))).last).toMatchObject({ type: 'failed', error });
  });

  it('in one piece keeps what the head of the answer says, and the usage that it reports', async () => {
    const headers = { ...json.headers, 'x-request-id': 'req-1', 'retry-after': '1' };
    const { last, asked } = await ask(
      'openai',
      JSON.stringify({ error: { message: 'no', type: 'invalid_request_error' }, usage: counts }),
      { headers },
    );
    expect(asked).toBe(1);
    expect(last).toMatchObject({
      retryAfterMs: 1_000,
      usage: account,
      error: { code: 'provider_rejected', details: { requestId: 'req-1' } },
    });
  });

  it.each(wires)('is told by the name of its event, whatever it says (%s)', async (wire) => {
    for (const data of ['upstream timed out', '"upstream timed out"', '{"reason":"upstream timed out"}']) {
      const { last } = await ask(wire, `${begin[wire]}event: error\ndata: ${data}\n\n${sse('[DONE]')}`);
      expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_unavailable' } });
    }
  });

  it('after the finish reason is an error still, and after the end nothing', async () => {
    const failed = sse({ error: { message: 'the sidecar died', code: 500 } });
    expect((await ask('openai', sse(chunk('plain', 'stop')) + failed)).last).toMatchObject({
      type: 'failed',
      error: { code: 'provider_unavailable' },
    });
    expect((await ask('anthropic', streams.anthropic.replace('data: {"type":"message_stop"}', failed))).last).toMatchObject({
      type: 'failed',
    });
    for (const wire of wires) expect(await ask(wire, streams[wire] + failed)).toMatchObject(plain);
  });

  it('that says nothing is none', async () => {
    for (const error of [null, '', {}, false])
      expect(await ask('openai', sse(chunk('plain', 'stop', { error, usage: counts }), '[DONE]'))).toMatchObject(plain);
  });
});

describe('usage', () => {
  const told = (...events: readonly unknown[]) => sse(chunk('plain'), ...events, '[DONE]');
  const half = { prompt_tokens: 5_000, completion_tokens: 100 };

  it.each<[string, string]>([
    ['in the last chunk of content', sse(chunk('plain', 'stop', { usage: counts }), '[DONE]')],
    ['in a chunk with no choices', told(chunk('', 'stop'), { choices: [], usage: counts })],
    ['in a chunk whose choices are null', told(chunk('', 'stop'), { choices: null, usage: counts })],
    ['in a chunk of its own', told(chunk('', 'stop'), { usage: counts })],
    [
      'in every chunk, growing',
      sse(
        chunk('pl', null, { usage: { prompt_tokens: 5_000, completion_tokens: 0 } }),
        chunk('ain', null, { usage: half }),
        chunk('', 'stop', { usage: counts }),
        '[DONE]',
      ),
    ],
    [
      'with less, or nothing, at the end',
      told(
        chunk('', 'stop', { usage: counts }),
        { usage: half },
        { usage: { prompt_tokens: 0, completion_tokens: 0 } },
        { usage: null },
        { usage: {} },
      ),
    ],
    ['in a place of the server', told(chunk('', 'stop', { x_groq: { usage: counts } }))],
    ['within the choice', told({ choices: [{ delta: {}, finish_reason: 'stop', usage: counts }] })],
    ['without the output, but with the sum', told(chunk('', 'stop', { usage: { prompt_tokens: 5_000, total_tokens: 5_300 } }))],
    ['without the input, but with the sum', told(chunk('', 'stop', { usage: { completion_tokens: 300, total_tokens: 5_300 } }))],
    [
      'in the words of the other format',
      told(chunk('', 'stop', { usage: { input_tokens: 5_000, output_tokens: 300, input_tokens_details: { cached_tokens: 100 } } })),
    ],
  ])('is found %s', async (_where, body) => {
    expect(await ask('openai', body)).toMatchObject(plain);
  });

  it.each<[string, object]>([
    ['the input alone', { prompt_tokens: 5_000 }],
    ['the output alone', { completion_tokens: 300 }],
    ['no input', { prompt_tokens: 0, completion_tokens: 300 }],
    ['the sum alone', { total_tokens: 5_300 }],
    ['an output that is no count', { prompt_tokens: 5_000, completion_tokens: -1 }],
  ])('that is half an account is none: %s', async (_what, usage) => {
    const { last } = await ask('openai', told(chunk('', 'stop', { usage })));
    expect(last.usage.inputTokens).toBeLessThan(1_000);
    expect(last.usage).toMatchObject({
      inputTokens: (await ask('openai', told(chunk('', 'stop')))).last.usage.inputTokens,
      outputTokens: expect.any(Number),
    });
    expect(last.usage.outputTokens).toBeGreaterThan(0);
  });

  it('of messages is read from each of its places, and never shrinks', async () => {
    const withUsage = (place: string, usage: object) =>
      streams.anthropic.replace(place, `${place.slice(0, -1)},"usage":${JSON.stringify(usage)}}`);
    expect(await ask('anthropic', withUsage('{"type":"message_stop"}', { input_tokens: 0, output_tokens: 0 }))).toMatchObject(plain);
    expect(await ask('anthropic', withUsage('{"type":"message_stop"}', { input_tokens: 6_000, output_tokens: 400 }))).toMatchObject({
      last: { usage: { inputTokens: 6_000, outputTokens: 400 } },
    });
    // What the start says of the output is no account of an answer that came after it.
    const { last } = await ask('anthropic', streams.anthropic.replace('{"output_tokens":300}', '{}'));
    expect(last).toMatchObject({ usage: { inputTokens: 5_000 }, assumed: ['outputTokens'] });
  });
});
