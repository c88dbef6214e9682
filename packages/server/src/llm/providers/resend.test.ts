import { readFileSync } from 'node:fs';
import type { Message } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService, type ModelRequest, type Provider } from '#llm';
import { call, grant, makeRequest, recordGate, startServer, strictAnthropic, strictOpenAi, until } from '#llm/testing';
import { createAnthropicProvider, createOpenAiCompatibleProvider, createOpenAiProvider } from './index.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

const caseFile = (name: string) => readFileSync(new URL(`../../../../../test/cases/${name}`, import.meta.url), 'utf8');
const refusal = (name: string): Refusal => JSON.parse(caseFile(name));

// biome-ignore lint/suspicious/noExplicitAny: the tests look at the members that they are about
type Body = any;
interface Refusal {
  readonly status: number;
  readonly body: unknown;
}

const chatAnswer = 'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';
const event = (data: { type: string }) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
const anthropicAnswer =
  event({ type: 'message_start', message: { usage: { input_tokens: 1, output_tokens: 1 } } } as { type: string }) +
  event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: 'ok' } } as { type: string }) +
  event({ type: 'message_delta', delta: { stop_reason: 'end_turn' } } as { type: string }) +
  event({ type: 'message_stop' });

type Create = (url: string) => Provider;
const compatible: Create = (url) => createOpenAiCompatibleProvider({ name: 'p', baseUrl: `${url}/v1`, clock: systemClock, price: 'free' });
const openai: Create = (url) => createOpenAiProvider({ name: 'p', apiKey: 'k', baseUrl: `${url}/v1`, clock: systemClock });
const anthropic: Create = (url) =>
  createAnthropicProvider({
    name: 'p',
    apiKey: 'k',
    baseUrl: `${url}/v1`,
    clock: systemClock,
    thinking: { type: 'enabled', budgetTokens: 1_024 },
  });

/** A server that refuses some bodies, and a caller of it. */
async function serve(
  create: Create,
  refuse: (body: Body, text: string) => Refusal | null,
  answer?: (body: Body) => string,
  maxAttemptsPerTarget = 1,
) {
  const bodies: Body[] = [];
  const paths: string[] = [];
  const keys: unknown[] = [];
  const server = await startServer((request, response) => {
    paths.push(request.url ?? '');
    if (request.method !== 'POST') return void response.end('{"data":[]}');
    const body: Body = JSON.parse(request.body);
    bodies.push(body);
    keys.push(request.headers['idempotency-key']);
    const refused = refuse(body, request.body);
    if (refused !== null) {
      response.writeHead(refused.status, { 'content-type': 'application/json' }).end(JSON.stringify(refused.body));
      return;
    }
    const text = answer?.(body) ?? (request.url?.startsWith('/v1/messages') ? anthropicAnswer : chatAnswer);
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(text);
  });
  const llm = createModelService({
    providers: [create(server.url)],
    clock: systemClock,
    random: () => 0,
    retry: { maxAttemptsPerTarget, baseDelayMs: 1 },
  });
  open.push(server, llm);
  const ask = async (changes: Partial<ModelRequest> = {}, model = 'm') => {
    const gate = recordGate(() => grant(10_000, 4_000));
    const { last, text } = await call(llm, makeRequest('go', changes), { models: [`p/${model}`], gate });
    return { last, text, attempts: gate.begins.length, usage: last.usage, failed: gate.failures };
  };
  return { bodies, paths, keys, ask, llm };
}

const tools = [{ name: 'fs_list', description: 'lists', inputSchema: { type: 'object' } }];
const outputSchema = { type: 'object', required: ['files'], properties: { files: { type: 'integer' } } };
const user = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });
const called: Message[] = [
  user('go'),
  { role: 'assistant', content: [{ type: 'tool_call', providerCallId: 'x', name: 'fs_list', input: {} }] },
  { role: 'tool', content: [{ type: 'tool_result', providerCallId: 'x', name: 'fs_list', output: 'a', isError: false }] },
];
const twoCalls: Message[] = [
  user('go'),
  { role: 'assistant', content: ['x', 'y'].map((id) => ({ type: 'tool_call', providerCallId: id, name: 'fs_list', input: { id } })) },
  {
    role: 'tool',
    content: ['x', 'y'].map((id) => ({ type: 'tool_result', providerCallId: id, name: 'fs_list', output: id, isError: false })),
  },
];
const image = { type: 'image', mediaType: 'image/png', data: { base64: 'AAAA' } } as const;
const looking: Message = { role: 'user', content: [{ type: 'text', text: 'look' }, image] };
const seen: Message[] = [looking, { role: 'assistant', content: [{ type: 'text', text: 'a cat' }] }, user('and now?')];
const thoughtful: Message[] = [
  user('go'),
  {
    role: 'assistant',
    content: [
      { type: 'reasoning', text: 'I should.', field: 'reasoning_content', givenBy: { provider: 'p', model: 'm' } },
      { type: 'reasoning', text: 'I should too.', field: 'reasoning_content', givenBy: { provider: 'p', model: 'another' } },
      { type: 'tool_call', providerCallId: 'x', name: 'fs_list', input: {} },
    ],
  },
];
const says = (message: string, status = 400): Refusal => ({ status, body: { error: { message, type: 'invalid_request_error' } } });
const answersOf = (body: Body): Body[] => body.messages.filter(({ role }: Body) => role === 'assistant');

const streamOptions = refusal('15-stream-options-refused.json');
const withTools = refusal('14-schema-with-tools-refused.json');
const rows: readonly (readonly [string, Create, Partial<ModelRequest>, (body: Body) => boolean, Refusal])[] = [
  ['options of the stream', compatible, {}, (body) => 'stream_options' in body, streamOptions],
  ['a format beside tools', compatible, { tools, outputSchema }, (body) => 'response_format' in body && 'tools' in body, withTools],
  ['a format', openai, { outputSchema }, (body) => 'response_format' in body, says('This response_format type is unavailable now')],
  [
    'a format named apart',
    openai,
    { outputSchema },
    (body) => 'response_format' in body,
    { status: 400, body: { error: { message: 'no', param: 'response_format' } } },
  ],
  [
    'max_completion_tokens',
    openai,
    {},
    (body) => 'max_completion_tokens' in body,
    says('Unrecognized request argument supplied: max_completion_tokens'),
  ],
  [
    'max_tokens',
    compatible,
    {},
    (body) => 'max_tokens' in body,
    says("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
  ],
  [
    'a temperature',
    openai,
    { temperature: 0.2 },
    (body) => 'temperature' in body,
    says("Unsupported value: 'temperature' does not support 0.2 with this model."),
  ],
  [
    'a user after a result',
    compatible,
    { messages: [...called, user('and?')] },
    (body) => body.messages.some(({ role }: Body, at: number) => role === 'user' && body.messages[at - 1].role === 'tool'),
    says("Unexpected role 'user' after role 'tool'"),
  ],
  [
    'calls without reasoning',
    compatible,
    { messages: called },
    (body) => answersOf(body).some((item) => !item.reasoning_content),
    says('Missing `reasoning_content` field in the assistant message at message index 2'),
  ],
  [
    'calls without reasoning, in other words',
    compatible,
    { messages: called },
    (body) => answersOf(body).some((item) => !item.reasoning_content),
    says('The `reasoning_content` in the thinking mode must be passed back to the API.'),
  ],
  [
    'answers without reasoning',
    compatible,
    { messages: [user('go'), { role: 'assistant', content: [{ type: 'text', text: 'so' }] }, user('and?')] },
    (body) => answersOf(body).some((item) => !item.reasoning_content),
    says('The `reasoning_content` in the thinking mode must be passed back to the API.'),
  ],
  [
    'calls without a signature',
    compatible,
    { messages: called },
    (body) => !answersOf(body)[0].tool_calls[0].extra_content,
    says('Function call is missing a thought_signature in functionCall parts.'),
  ],
  ['a message of the system', compatible, {}, (body) => body.messages[0].role === 'system', says('System role not supported')],
  [
    'reasoning of its own',
    compatible,
    { messages: thoughtful },
    (body) => answersOf(body).some((item) => item.reasoning_content),
    says(
      "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning_content' is unsupported)]",
    ),
  ],
  [
    'a format, in the words of others',
    openai,
    { tools, outputSchema },
    (body) => 'response_format' in body,
    says("Function calling with a response mime type: 'application/json' is unsupported"),
  ],
  [
    'a format, in the words of yet others',
    openai,
    { tools, outputSchema },
    (body) => 'response_format' in body,
    says('json mode cannot be combined with tool/function calling'),
  ],
  [
    'a format on the other wire',
    anthropic,
    { outputSchema },
    (body) => 'output_config' in body,
    says('output_config: Extra inputs are not permitted'),
  ],
  [
    'calls at once, told one after another',
    compatible,
    { messages: twoCalls },
    (body) => answersOf(body).some((item) => item.tool_calls?.length > 1),
    says('This model only supports single tool-calls at once!'),
  ],
  [
    'calls of tools that are not offered any more',
    compatible,
    { messages: [...called, user('and?')] },
    (body) => !('tools' in body),
    says("litellm.UnsupportedParamsError: Bedrock doesn't support tool calling without `tools=` param specified."),
  ],
  [
    'calls without a text',
    compatible,
    { messages: called },
    (body) => answersOf(body).some((item) => item.content === null),
    { status: 422, body: { detail: [{ loc: ['body', 'messages', 1, 'content'], msg: 'Input should be a valid string' }] } },
  ],
  [
    'a long description',
    openai,
    { tools: [{ name: 'fs_list', description: 'lists '.repeat(400), inputSchema: {} }] },
    (body) => body.tools[0].function.description.length > 1_024,
    {
      status: 400,
      body: {
        error: {
          message:
            "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got a string with length 2400 instead.",
          param: 'tools[0].function.description',
          code: 'string_above_max_length',
        },
      },
    },
  ],
  ...(
    [
      ['unknown variant `image_url`, expected `text` at line 1 column 80', 400],
      ['No endpoints found that support image input', 404],
      ['At most 0 image(s) may be provided in one request.', 400],
      ['m is not a multimodal model', 400],
      ["'messages.1' : for 'role:user' the following must be satisfied[('messages.1.content' : value must be a string)]", 400],
      ['Invalid content type. image_url is only supported by certain models.', 400],
    ] as const
  ).map(
    ([words, status]) =>
      [
        `images of the past: ${words}`,
        compatible,
        { messages: seen },
        (body: Body) => JSON.stringify(body.messages).includes('image_url'),
        says(words, status),
      ] as const,
  ),
  ['thinking', anthropic, {}, (body) => 'thinking' in body, says('adaptive thinking is not supported on this model')],
  [
    'marks for a cache',
    anthropic,
    {},
    (body) => JSON.stringify(body).includes('cache_control'),
    says('system.0.cache_control: Extra inputs are not permitted', 422),
  ],
];

describe('a request is sent again, within the attempt, without what the server refuses:', () => {
  it.each(rows)('%s; once for each model', async (_what, create, changes, isIn, refused) => {
    const { ask, bodies } = await serve(create, (body) => (isIn(body) ? refused : null));
    expect(await ask(changes)).toMatchObject({ last: { type: 'completed' }, text: 'ok', attempts: 1 });
    expect(bodies).toHaveLength(2);
    expect(await ask(changes)).toMatchObject({ text: 'ok', attempts: 1 });
    expect(bodies).toHaveLength(3);
    await ask(changes, 'another');
    expect(bodies).toHaveLength(5);
  });

  it('one thing after another', async () => {
    const { ask, bodies, keys } = await serve(openai, (body) =>
      'stream_options' in body
        ? streamOptions
        : 'temperature' in body
          ? says('temperature is not supported')
          : 'response_format' in body
            ? withTools
            : null,
    );
    expect(await ask({ tools, outputSchema, temperature: 1 })).toMatchObject({ text: 'ok', attempts: 1 });
    expect(bodies).toHaveLength(4);
    expect(new Set(keys).size).toBe(4);
    await ask({ tools, outputSchema, temperature: 1 });
    expect(bodies).toHaveLength(5);
  });

  it('and nothing that was not refused', async () => {
    const { ask, bodies } = await serve(compatible, (body) => ('response_format' in body && 'tools' in body ? withTools : null));
    await ask({ tools, outputSchema, temperature: 1 });
    expect(bodies[1]).toMatchObject({ tools: [{}], temperature: 1, stream_options: {}, max_tokens: 4_000 });
    expect(bodies[1].messages[0].content).toContain(JSON.stringify(outputSchema));
    await ask({ outputSchema });
    expect(bodies[2]).toHaveProperty('response_format');
    expect(bodies[2].messages[0].content).toBe('You help.');
  });
});

describe('a server that fails over what it does not take may bill what it did', () => {
  const fails = says('image input is not supported - hint: if this is unexpected, you may need to provide the mmproj', 500);
  const hasImage = (body: Body) => JSON.stringify(body.messages).includes('image_url');

  it('so the next attempt does without, and the one that failed is charged', async () => {
    const { ask, bodies } = await serve(compatible, (body) => (hasImage(body) ? fails : null), undefined, 2);
    const { text, failed } = await ask({ messages: seen });
    expect({ text, sent: bodies.length }).toEqual({ text: 'ok', sent: 2 });
    expect(failed).toMatchObject([{ sent: true, assumed: ['inputTokens', 'outputTokens'] }]);
    expect(await ask({ messages: seen })).toMatchObject({ text: 'ok', attempts: 1 });
  });

  it('and nothing is learned when it fails all the same', async () => {
    const { ask, bodies } = await serve(compatible, () => fails, undefined, 2);
    expect(await ask({ messages: seen })).toMatchObject({ attempts: 2, last: { type: 'failed' } });
    expect(await ask({ messages: seen })).toMatchObject({ attempts: 2, last: { type: 'failed' } });
    expect(bodies.map(hasImage)).toEqual([true, false, true, false]);
  });
});

describe('a refusal stands', () => {
  it.each([
    ['that names nothing of it', says('the request is not valid')],
    ['of a value', says('max_tokens is too large: 4000. This model supports at most 2048 completion tokens')],
    ['of something that it has not', says('response_format is not supported')],
    ['by another status', says('stream_options is not allowed', 404)],
  ])('%s', async (_what, refused) => {
    const { ask, bodies } = await serve(compatible, () => refused);
    const { last, attempts, usage } = await ask();
    expect(last).toMatchObject({ type: 'failed', error: { code: 'provider_rejected' } });
    expect({ attempts, sent: bodies.length, tokens: usage.inputTokens + usage.outputTokens }).toEqual({ attempts: 1, sent: 1, tokens: 0 });
  });

  it('that is repeated without what it named; then nothing was learned', async () => {
    const { ask, bodies } = await serve(compatible, () => streamOptions);
    expect((await ask()).last).toMatchObject({
      error: { code: 'provider_rejected', message: expect.stringContaining('body.stream_options: not allowed here') },
    });
    await ask();
    expect(bodies.map((body) => 'stream_options' in body)).toEqual([true, false, true, false]);
  });

  it('of an image that the newest message has: nobody would see that it was left out', async () => {
    const { ask, bodies } = await serve(compatible, (body) =>
      JSON.stringify(body.messages).includes('image_url') ? says('m is not a multimodal model') : null,
    );
    expect(await ask({ messages: [looking] })).toMatchObject({ last: { error: { code: 'provider_rejected' } } });
    expect(bodies).toHaveLength(1);
    expect(await ask({ messages: [...seen, looking] })).toMatchObject({ last: { error: { code: 'provider_rejected' } } });
  });

  it('of one image of the past, without changing the next conversation', async () => {
    const { ask, bodies } = await serve(anthropic, (body) =>
      JSON.stringify(body.messages).includes('AAAA')
        ? says('messages.0.content.1.image.source.base64.data: Could not process image')
        : null,
    );
    expect(await ask({ messages: seen })).toMatchObject({ text: 'ok' });
    expect(bodies[1].messages[0].content).toMatchObject([{ text: 'look' }, { text: expect.stringContaining('image') }]);
    await ask({ messages: [{ role: 'user', content: [{ ...image, data: { base64: 'BBBB' } }] }, ...seen.slice(1)] });
    expect(JSON.stringify(bodies[2].messages)).toContain('BBBB');
  });

  it('of thinking that one conversation holds, without changing the next one', async () => {
    const thought = { type: 'reasoning' as const, text: 't', signature: 'bad', givenBy: { provider: 'p', model: 'm' } };
    const messages: Message[] = [user('go'), { role: 'assistant', content: [thought, { type: 'text', text: 'so' }] }, user('and?')];
    const isBad = (_body: Body, text: string) =>
      text.includes('"bad"') ? says('messages.1.content.0: Invalid `signature` in `thinking` block') : null;
    const { ask, bodies } = await serve(anthropic, isBad);
    expect((await ask({ messages })).text).toBe('ok');
    await ask({ messages });
    expect(bodies).toHaveLength(4);
  });
});

it('ends at once when it is cancelled while it is sent again', async () => {
  let sent = 0;
  const server = await startServer((_request, response) => {
    sent += 1;
    if (sent === 1) response.writeHead(422).end(JSON.stringify(streamOptions.body));
  });
  const llm = createModelService({ providers: [compatible(server.url)], clock: systemClock, random: () => 0 });
  open.push(server, llm);
  const abort = new AbortController();
  const ended = call(llm, makeRequest('go'), { models: ['p/m'], signal: abort.signal });
  await until(() => sent === 2, 'the second request');
  abort.abort();
  expect((await ended).last).toMatchObject({ error: { code: 'cancelled' } });
});

it('keeps to the time of the attempt over both requests', async () => {
  const server = await startServer((request, response) => {
    const refuse = () => response.writeHead(422).end(JSON.stringify(streamOptions.body));
    if (request.body.includes('stream_options')) setTimeout(refuse, 300);
  });
  const llm = createModelService({ providers: [compatible(server.url)], clock: systemClock, random: () => 0, retry: { maxAttempts: 1 } });
  open.push(server, llm);
  const startedMs = performance.now();
  const { last } = await call(llm, makeRequest('go'), { models: ['p/m'], gate: recordGate(() => grant(600)) });
  expect(last).toMatchObject({ error: { code: 'provider_timeout' } });
  expect(performance.now() - startedMs).toBeLessThan(850);
});

it('tells calls that were made at once one after another, each with its result', async () => {
  const { ask, bodies } = await serve(compatible, (body) =>
    answersOf(body).some((item) => item.tool_calls?.length > 1) ? says('This model only supports single tool-calls at once!') : null,
  );
  await ask({ messages: twoCalls });
  const told = bodies[1].messages.slice(2).map((message: Body) => message.tool_calls?.[0].id ?? message.tool_call_id);
  expect(told).toEqual(['c00000001', 'c00000001', 'c00000002', 'c00000002']);
  expect(bodies[1].messages.slice(3).map(({ content }: Body) => content)).toEqual(['x', null, 'y']);
});

describe('a strict server', () => {
  it('is given back the reasoning that it gave', async () => {
    const lacks = refusal('12-reasoning-refused.json');
    const isLacking = (body: Body) => answersOf(body).some((item) => item.reasoning_content !== 'I should list.');
    const { ask, bodies } = await serve(
      compatible,
      (body) => (isLacking(body) ? lacks : null),
      (body) => (answersOf(body).length === 0 ? caseFile('12-reasoning.openai.sse') : chatAnswer),
    );
    const first = await ask({ tools });
    if (first.last.type !== 'completed') throw new Error('not completed');
    const result = { type: 'tool_result' as const, providerCallId: 'call_1', name: 'fs_list', output: 'a', isError: false };
    const messages: Message[] = [user('go'), { role: 'assistant', content: [...first.last.content] }, { role: 'tool', content: [result] }];
    expect((await ask({ tools, messages })).text).toBe('ok');
    expect(bodies).toHaveLength(2);
    expect(strictOpenAi(JSON.stringify({ ...bodies[1] }))).toEqual([]);
  });

  it('is never sent bounds of an answer', async () => {
    const bounds = refusal('13-schema-bounds-refused.json');
    const { ask, bodies } = await serve(anthropic, (body, text) =>
      /"(minimum|maximum)":/.test(text) ? bounds : strictAnthropic(JSON.stringify(body)).length > 0 ? says('strict') : null,
    );
    const properties = { score: { type: 'integer', minimum: 1, maximum: 10 }, note: { type: 'string', maxLength: 280 } };
    expect((await ask({ outputSchema: { type: 'object', required: ['score'], properties } })).text).toBe('ok');
    expect(bodies).toHaveLength(1);
  });
});

it('sends the query of the address with each request', async () => {
  const create: Create = (url) =>
    createOpenAiCompatibleProvider({ name: 'p', baseUrl: `${url}/openai/d?api-version=2024-10-21&x=%20a`, clock: systemClock });
  const { ask, paths, llm } = await serve(create, () => null);
  expect((await ask()).text).toBe('ok');
  await llm.list();
  expect(paths.sort()).toEqual([
    '/openai/d/chat/completions?api-version=2024-10-21&x=%20a',
    '/openai/d/models?api-version=2024-10-21&x=%20a',
  ]);
});
