import type { Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { brotliCompressSync, constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider } from '#llm/providers';
import { call, grant, makeRequest, recordGate, startRawServer } from '#llm/testing';
import { mostExcessTokens } from '#llm/tokens';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

type Wire = 'openai' | 'anthropic';
/** So much that an answer with too many calls is given up for their number before it has used this up. */
const granted = 10_000;
/** The servers that answer share the loop with who reads. What others really wait is measured on a server of its own. */
const barMs = 250;
const mostCpuMs = 2_000;

const head = (headers = '', type = 'text/event-stream') =>
  `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\nconnection: close\r\n${headers}\r\n`;
const sse = (...events: readonly unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');

/** Asks a server that answers as it likes; the longest that the event loop stood still meanwhile is part of what comes back. */
async function ask(wire: Wire, answer: (socket: Socket) => void) {
  const server = await startRawServer((socket) => answer(socket));
  const provider =
    wire === 'openai'
      ? createOpenAiCompatibleProvider({
          name: 'p',
          baseUrl: `${server.url}/v1`,
          clock: systemClock,
          price: 'free',
          contextTokens: 200_000,
        })
      : createAnthropicProvider({ name: 'p', apiKey: 'k', baseUrl: server.url, clock: systemClock });
  const llm = createModelService({ providers: [provider], clock: systemClock, random: () => 0, retry: { maxAttempts: 1 } });
  open.push(server, llm);
  const gate = recordGate(() => grant(20_000, granted));
  const delay = monitorEventLoopDelay({ resolution: 5 });
  const models = ['p/m'];
  const targets = await llm.resolve(models);
  const usedBefore = process.cpuUsage();
  delay.enable();
  const { last } = await call(llm, makeRequest('hello'), { models, targets, gate });
  await pause(20); // a stall is noted by the turn behind it
  delay.disable();
  const { user, system } = process.cpuUsage(usedBefore);
  return { last, stallMs: delay.max / 1e6, cpuMs: (user + system) / 1_000 };
}

/** The machine does other things, too: what stalls the loop does so each time, and what does so for seconds is not the machine. */
async function quietest(wire: Wire, answer: (socket: Socket) => void) {
  let best = await ask(wire, answer);
  for (let more = 0; more < 3 && best.stallMs > barMs && best.stallMs < 6 * barMs; more++) {
    const again = await ask(wire, answer);
    if (again.stallMs < best.stallMs) best = again;
  }
  return best;
}

const chat = (delta: unknown, more: object = {}) => ({ choices: [{ delta, ...more }] });
const toolCall = (index: number, name: string, args = '{}', id = `c${index}`) =>
  chat({ tool_calls: [{ index, id, function: { name, arguments: args } }] });
const block = (index: number, content_block: object) => ({ type: 'content_block_start', index, content_block });
const delta = (index: number, value: object) => ({ type: 'content_block_delta', index, delta: value });
const begun = { type: 'message_start', message: { usage: { input_tokens: 9, output_tokens: 1 } } };
const mega = 'x'.repeat(1_000_000);
const many = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index));
const textOf = (events: readonly unknown[]) => head() + sse(...events);
const answered = (text: string | Buffer) => {
  const bytes = Buffer.from(text); // not while the loop is watched
  return (socket: Socket) => void socket.end(bytes);
};
const blanks = Buffer.alloc(30_000_000, ' ');
const brotli = (body: Buffer) => brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } });
const document = (body: unknown) => head('', 'application/json') + JSON.stringify(body);

/** Nothing of it is an answer: each is given up. */
const hostile: readonly [string, Wire, () => (socket: Socket) => void][] = [
  ['choices as a text', 'openai', () => answered(textOf([{ choices: mega }]))],
  ['100,000 choices', 'openai', () => answered(textOf([{ choices: many(100_000, () => ({})) }]))],
  ['500,000 choices that are null', 'openai', () => answered(textOf([{ choices: many(390_000, () => null) }]))],
  ['5,000 calls in one answer', 'openai', () => answered(textOf(many(5_000, (index) => toolCall(index, 'f'))))],
  ['50,000 calls in one event', 'openai', () => answered(textOf([chat({ tool_calls: many(50_000, (index) => ({ index })) })]))],
  [
    '50,000 calls by their places',
    'openai',
    () => answered(textOf([chat({ tool_calls: Object.fromEntries(many(50_000, (index) => [index, {}])) })])),
  ],
  ['a name of 1 MB', 'openai', () => answered(textOf([toolCall(0, mega)]))],
  ['a name that grows', 'openai', () => answered(textOf(many(9_000, () => toolCall(0, 'abcdefgh', '', 'c'))))],
  ['an id of 1 MB', 'openai', () => answered(textOf([toolCall(0, 'f', '{}', mega)]))],
  ['ids of 1 MB, again and again', 'openai', () => answered(textOf(many(20, (index) => toolCall(index, 'f', '{}', index + mega))))],
  ['a reason to end of 1 MB', 'openai', () => answered(textOf([chat({}, { finish_reason: mega })]))],
  ['a list of texts without end', 'openai', () => answered(textOf([chat({ content: many(300_000, () => 'a') })]))],
  ['lists within lists', 'openai', () => answered(`${head()}data: ${'['.repeat(900_000)}\n\n`)],
  ['objects within objects', 'openai', () => answered(`${head()}data: ${'{"a":'.repeat(300_000)}1${'}'.repeat(300_000)}\n\n`)],
  [
    'thinking and text in turn',
    'openai',
    () => answered(textOf(many(5_000, (index) => chat(index % 2 ? { content: 'a' } : { reasoning: 'b' })))),
  ],
  ['an event of many events', 'openai', () => answered(`${head()}${'data: {}\n'.repeat(200_000)}\n`)],
  ['lines of many answers', 'openai', () => answered(`${head('', 'application/json')}${'{}\n'.repeat(600_000)}`)],
  ['a document of some blanks', 'openai', () => answered(`${head('', 'application/json')}{${' '.repeat(95_000)}x`)],
  ['a document of blanks', 'openai', () => answered(`${head('', 'application/json')}{${' '.repeat(1_500_000)}`)],
  ['a document of more than is read', 'openai', () => answered(`${head('', 'application/json')}{"a":"${mega}${mega}${mega}"}`)],
  ['one line that does not end', 'openai', () => pour(head(), `data: ${mega}`)],
  ['comments without end', 'openai', () => pour(head(), ': keep-alive\n\n'.repeat(5_000))],
  ['blank lines without end', 'openai', () => pour(head(), '\r\n'.repeat(40_000))],
  ['empty events without end', 'openai', () => pour(head(), 'data: {}\n\n'.repeat(6_000))],
  ['a body of HTTP chunks of a byte', 'openai', () => pour(head('transfer-encoding: chunked\r\n'), '1\r\n:\r\n'.repeat(10_000))],
  ['early hints without end', 'openai', () => pour('', 'HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n'.repeat(2_000))],
  ['a head without end', 'openai', () => pour('HTTP/1.1 200 OK\r\n', `x-a: ${'b'.repeat(1_000)}\r\n`.repeat(60))],
  ['10,000 headers', 'openai', () => pour('HTTP/1.1 200 OK\r\n', 'a:b\r\n'.repeat(10_000))],
  ['headers that are none', 'openai', () => answered('HTTP/1.1 200 OK\r\nx: a\u0000b\r\n\r\n')],
  ['an error of 100 MB', 'openai', () => pour('HTTP/1.1 500 No\r\ncontent-type: text/html\r\n\r\n', '<'.repeat(60_000))],
  ['an error of marks', 'openai', () => answered(`HTTP/1.1 400 No\r\nconnection: close\r\n\r\n${'<'.repeat(64_000)}`)],
  ['an error of words', 'openai', () => answered(textOf([{ error: { message: 'context window '.repeat(60_000), type: mega } }]))],
  ['an error within errors', 'openai', () => answered(`HTTP/1.1 400 No\r\nconnection: close\r\n\r\n${'{"error":'.repeat(6_000)}1`)],
  ['a refusal in an unknown encoding', 'openai', () => pour('HTTP/1.1 500 No\r\ncontent-encoding: lzw\r\n\r\n', mega)],
  ['a bomb of gzip', 'openai', () => answered(packed('gzip', gzipSync(blanks)))],
  ['a bomb of brotli', 'openai', () => answered(packed('br', brotli(blanks)))],
  ['a bomb of zstd', 'openai', () => answered(packed('zstd', zstdCompressSync(blanks)))],
  ['a bomb within a bomb', 'openai', () => answered(packed('gzip, gzip', gzipSync(gzipSync(blanks))))],
  ['a redirect', 'openai', () => answered(`HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/${'a'.repeat(20_000)}\r\n\r\n`)],
  ['a switch of protocols', 'openai', () => answered('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n')],
  [
    'an early end, as HTTP/1.0',
    'openai',
    () => answered(`HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${sse(chat({ content: 'a' }))}`),
  ],
  [
    'a document with a name of 1 MB',
    'openai',
    () => answered(document({ choices: [{ message: { tool_calls: [{ function: { name: mega } }] } }] })),
  ],
  [
    'a document of 5,000 calls',
    'openai',
    () => answered(document({ choices: [{ message: { tool_calls: many(5_000, () => ({ function: { name: 'f' } })) } }] })),
  ],
  [
    '5,000 blocks that are calls',
    'anthropic',
    () => answered(textOf([begun, ...many(5_000, (index) => block(index, { type: 'tool_use', id: `c${index}`, name: 'f', input: {} }))])),
  ],
  [
    '5,000 blocks of text',
    'anthropic',
    () => answered(textOf([begun, ...many(5_000, (index) => block(index, { type: 'text', text: 'a' }))])),
  ],
  ['a name of 1 MB', 'anthropic', () => answered(textOf([begun, block(0, { type: 'tool_use', id: 'c', name: mega, input: {} })]))],
  ['an id of 1 MB', 'anthropic', () => answered(textOf([begun, block(0, { type: 'tool_use', id: mega, name: 'f', input: {} })]))],
  [
    'proofs without end',
    'anthropic',
    () =>
      answered(
        textOf([
          begun,
          block(0, { type: 'thinking', thinking: '' }),
          ...many(4, () => delta(0, { type: 'signature_delta', signature: mega })),
        ]),
      ),
  ],
  [
    'what was thought, hidden, without end',
    'anthropic',
    () => answered(textOf([begun, ...many(4, (index) => block(index, { type: 'redacted_thinking', data: mega }))])),
  ],
  [
    'a first message of a million blocks',
    'anthropic',
    () => answered(textOf([{ type: 'message_start', message: { content: many(400_000, () => 0) } }])),
  ],
  [
    'an account of made-up counts',
    'anthropic',
    () => answered(textOf([begun, ...many(30_000, (index) => ({ type: 'ping', usage: { [`k${index}`]: 1 } }))])),
  ],
  [
    'a reason to stop of 1 MB',
    'anthropic',
    () => answered(textOf([begun, { type: 'message_delta', delta: { stop_reason: mega } }, { type: 'message_stop' }])),
  ],
];

function packed(encoding: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(head(`content-encoding: ${encoding}\r\ncontent-length: ${body.length}\r\n`)), body]);
}

/** Writes the same again and again until nobody reads any more, or 100 MB are written. */
function pour(begin: string, more: string): (socket: Socket) => void {
  return (socket) => {
    socket.write(begin);
    let left = Math.ceil(100_000_000 / more.length);
    const write = () => {
      while (left > 0 && !socket.destroyed) {
        left -= 1;
        if (!socket.write(more)) return;
      }
      socket.end();
    };
    socket.on('drain', write);
    write();
  };
}

/** The bound that ends it, where another one would end it later. */
const ends: ReadonlyMap<string, string> = new Map([
  ['100,000 choices', 'more than 128 choices'],
  ['500,000 choices that are null', 'more than 128 choices'],
  ['5,000 calls in one answer', 'more than 512 tool calls'],
  ['5,000 blocks that are calls', 'more than 512 tool calls'],
  ['50,000 calls in one event', 'more than 1000 pieces of calls'],
  ['a name of 1 MB', 'a name of a tool of more than 256 characters'],
  ['an id of 1 MB', 'an id of a call of more than 16384 characters'],
  ['a list of texts without end', 'more than 10000 pieces of text'],
  ['lists within lists', 'nested too deeply'],
  ['thinking and text in turn', 'more than 2000 parts'],
  ['5,000 blocks of text', 'more than 2000 parts'],
  ['proofs without end', 'more than 2000000 characters'],
  ['one line that does not end', 'more than 2000000 characters'],
  ['a bomb of gzip', 'more than 2000000 bytes'],
  ['comments without end', 'goes on after'],
  ['empty events without end', 'goes on after 170000 events'],
  ['a body of HTTP chunks of a byte', 'in pieces that are too small'],
  ['early hints without end', 'only ever begins'],
  ['10,000 headers', 'UND_ERR_HEADERS_OVERFLOW'],
]);

describe('a provider that sends', () => {
  it.each(hostile)(
    '%s (%s) is given up as a typed failure, and nobody waits [verifies hostile.provider.answers]',
    async (what, wire, make) => {
      const { last, stallMs, cpuMs } = await quietest(wire, make());
      expect(last).toMatchObject({ type: 'failed', error: { code: expect.stringMatching(/^provider_|^content_|^context_/) } });
      const { message = '' } = last.type === 'failed' ? last.error : {};
      expect(message.length).toBeLessThan(1_000);
      expect(message).toContain(ends.get(what) ?? '');
      expect(JSON.stringify(last).length).toBeLessThan(4_000);
      expect(last.usage.outputTokens).toBeLessThanOrEqual(granted + mostExcessTokens);
      expect(stallMs).toBeLessThan(barMs);
      // What is read in many turns stalls nobody, and may be dear all the same.
      expect(cpuMs).toBeLessThan(mostCpuMs);
    },
  );

  it.each([
    ['in pieces of ten characters', many(30_000, () => toolCall(0, '', 'abcdefghij', 'c'))],
    [
      'beside short ones again and again',
      [toolCall(0, 'f', `{"a":"${mega}"}`, 'c'), ...many(3_000, () => toolCall(0, '', '{"a":1}', 'c'))],
    ],
  ])('long arguments %s takes time in proportion to them', async (_what, events) => {
    const { stallMs } = await quietest('openai', answered(textOf([toolCall(0, 'f', '{"b":"', 'c'), ...events])));
    expect(stallMs).toBeLessThan(barMs);
  });

  it('ends of blocks again and again after blanks of 1 MB takes time in proportion to them', async () => {
    const spaces = many(1_000, () => delta(0, { type: 'input_json_delta', partial_json: ' '.repeat(1_000) }));
    const ends = many(20_000, () => ({ type: 'content_block_stop', index: 0 }));
    const { stallMs } = await quietest(
      'anthropic',
      answered(textOf([begun, block(0, { type: 'tool_use', id: 'c', name: 'f', input: {} }), ...spaces, ...ends])),
    );
    expect(stallMs).toBeLessThan(barMs);
  });
});

describe('what a provider claims to have used', () => {
  const chatEnd = (usage: unknown) => [chat({ content: 'hello' }), { choices: [{ delta: {}, finish_reason: 'stop' }], usage }, '[DONE]'];
  it.each([
    ['a hundred million tokens', { prompt_tokens: 100_000_000, completion_tokens: 100_000_000 }],
    ['more than there are numbers', { prompt_tokens: 1e308, completion_tokens: 1e308 }],
    ['texts', { prompt_tokens: '9'.repeat(1_000), completion_tokens: '7' }],
    ['less than nothing', { prompt_tokens: -5, completion_tokens: -1e12 }],
    ['lists', { prompt_tokens: [1], completion_tokens: { a: 1 } }],
    ['300,477 of them', { prompt_tokens: 10, completion_tokens: 300_477 }],
    ['a cache of more than all', { prompt_tokens: 10, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 90_000_000 } }],
  ])('is charged no further than a chunk beyond what was granted: %s [verifies hostile.provider.charged]', async (_what, usage) => {
    const { last } = await ask('openai', answered(textOf(chatEnd(usage))));
    expect(last.type).toBe('completed');
    const { inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens, reasoningTokens } = last.usage;
    expect(outputTokens).toBeLessThanOrEqual(granted + mostExcessTokens);
    expect(inputTokens).toBeLessThanOrEqual(20_000 + mostExcessTokens);
    expect(cacheReadTokens + cacheWriteTokens).toBeLessThanOrEqual(inputTokens);
    expect(reasoningTokens).toBeLessThanOrEqual(outputTokens);
    expect(Object.values(last.usage).every((count) => Number.isSafeInteger(count) && count >= 0)).toBe(true);
  });
});

describe('a server that lists models', () => {
  it.each([
    ['a million of them', `{"data":[${'{"id":"a"},'.repeat(250_000)}{"id":"b"}]}`],
    ['names of 1 MB', JSON.stringify({ data: [{ id: mega }, { id: 'good' }] })],
    ['lists within lists', '['.repeat(2_000_000)],
    ['marks', '<'.repeat(2_500_000)],
  ])('%s is read as far as it is bounded', async (_what, body) => {
    const server = await startRawServer((socket) => void socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n${body}`));
    const provider = createOpenAiCompatibleProvider({ name: 'p', baseUrl: `${server.url}/v1`, clock: systemClock, price: 'free' });
    open.push(server, provider);
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const models = await provider.models();
    await pause(20);
    delay.disable();
    expect(models.length).toBeLessThanOrEqual(2_000);
    expect(models.every((name) => name.length <= 200)).toBe(true);
    expect(delay.max / 1e6).toBeLessThan(2 * barMs);
  });

  it('a bomb that is small on the wire holds no more than its bound', async () => {
    const bomb = brotli(Buffer.alloc(100_000_000, ' '));
    const server = await startRawServer((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ntransfer-encoding: chunked\r\n\r\n${bomb.length.toString(16)}\r\n`);
      socket.write(bomb); // and the connection stays open
    });
    const provider = createOpenAiCompatibleProvider({ name: 'p', baseUrl: `${server.url}/v1`, clock: systemClock, price: 'free' });
    open.push(server, provider);
    const before = process.memoryUsage().arrayBuffers;
    expect(await provider.models()).toEqual([]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(60_000_000);
  });
});
