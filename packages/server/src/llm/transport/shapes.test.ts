import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { createModelService } from '#llm';
import { createAnthropicProvider, createOpenAiCompatibleProvider } from '#llm/providers';
import { call, keptAnswer, makeRequest, startRawServer } from '#llm/testing';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

/** What becomes of a body, and how often it was asked for. */
async function read(body: string, wire: 'openai' | 'anthropic' = 'openai') {
  const server = await startRawServer((socket) => socket.write(keptAnswer(body)));
  const options = { name: 'p', baseUrl: server.url, clock: systemClock };
  const provider =
    wire === 'openai'
      ? createOpenAiCompatibleProvider({ ...options, price: 'free' })
      : createAnthropicProvider({ ...options, apiKey: 'k' });
  const llm = createModelService({ providers: [provider], clock: systemClock, random: () => 0, retry: { baseDelayMs: 1 } });
  open.push(server, llm);
  const called = await call(llm, makeRequest('x'), { models: ['p/m'] });
  const { last, text, reasoning } = called;
  const calls = last.type === 'completed' ? last.content.flatMap((part) => (part.type === 'tool_call' ? [part] : [])) : [];
  return { last, text, reasoning, asked: server.requests.length, calls };
}

const sse = (...events: readonly unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');
const choice = (members: object) => ({ id: 'r', choices: [{ index: 0, ...members }] });
const delta = (members: unknown, finish_reason: string | null = null) => choice({ delta: members, finish_reason });
const said = (content: string) => delta({ content });
const over = delta({}, 'stop');
const whole = (message: unknown) => choice({ message, finish_reason: 'stop' });

describe('text', () => {
  it.each<[string, string]>([
    ['in a message that is a text', sse(whole('Hello world'), '[DONE]')],
    ['in the text of a message', sse(whole({ role: 'assistant', text: 'Hello world' }), '[DONE]')],
    ['in the text of a delta', sse(delta({ text: 'Hello world' }), over, '[DONE]')],
    ['in the choice itself', sse(choice({ content: 'Hello world', finish_reason: 'stop' }), '[DONE]')],
    ['beside an empty delta', sse(choice({ delta: {}, text: 'Hello world', finish_reason: 'stop' }), '[DONE]')],
    ['in choices whose places are texts', sse({ choices: [{ index: '0', delta: { content: 'Hello ' } }] }, said('world'), over, '[DONE]')],
    ['that is said again as a whole at the end', sse(said('Hello '), said('world'), delta({ content: 'Hello world' }, 'stop'), '[DONE]')],
    [
      'after signs of life that are words',
      `data: ping\n\ndata: : OPENROUTER PROCESSING\n\n${sse([], said('Hello world'), over, '[DONE]')}`,
    ],
    ['before an end mark of another spelling', sse(said('Hello world'), '[done]')],
    ['without blank lines between events', `data: ${JSON.stringify(said('Hello world'))}\ndata: ${JSON.stringify(over)}\ndata: [DONE]\n\n`],
    ['behind the name of the field twice', `data: ${sse(said('Hello world'))}data: ${sse(over)}data: data: [DONE]\n\n`],
    ['in lines of JSON', `${JSON.stringify(said('Hello world'))}\n${JSON.stringify(over)}\n`],
    ['that ends for a reason in other words', sse(said('Hello world'), delta({}, 'done'), '[DONE]')],
  ])('is read: %s', async (_where, body) => {
    expect(await read(body)).toMatchObject({ text: 'Hello world', asked: 1, last: { type: 'completed', finishReason: 'stop' } });
  });

  it('that a model says twice is kept', async () => {
    expect((await read(sse(said('ha'), said('ha'), delta({ content: 'haha' }, 'stop'), '[DONE]'))).text).toBe('hahahaha');
    expect((await read(sse(said('Once more.'), delta({ content: 'Once more.' }, 'stop'), '[DONE]'))).text).toBe('Once more.Once more.');
  });

  it.each<[string, string, string]>([
    ['in a member that nobody knows', sse(delta({ role: 'assistant', output: 'Hello' }), over, '[DONE]'), '"output"'],
    ['beside the choices', sse({ ...over, content: 'Hello' }, '[DONE]'), '"content"'],
    ['in a choice that is a text', sse({ choices: ['Hello'] }, over, '[DONE]'), 'a choice that is not an object'],
    ['in the format of Responses', sse({ type: 'response.output_text.delta', delta: 'Hello' }), 'another format than Chat Completions'],
    ['in the format of Gemini', sse({ candidates: [{ content: { parts: [{ text: 'Hello' }] } }] }), 'another format than Chat Completions'],
    ['in the format of Ollama', '{"message":{"content":"Hel"}}\n{"message":{"content":"lo"},"done":true}\n', 'another format than Chat'],
    ['that a whole message denies', sse(said('Hello'), whole({ content: 'Bye' }), '[DONE]'), 'not the sum of its pieces'],
  ])('is refused, and not asked for again: %s', async (_where, body, message) => {
    expect(await read(body)).toMatchObject({
      asked: 1,
      last: { type: 'failed', error: { code: 'provider_malformed', retryable: false, message: expect.stringContaining(message) } },
    });
  });

  it('of thinking is read from the blocks of gateways, and from a message that has more of it', async () => {
    const blocks = sse(delta({ content: '', thinking_blocks: [{ type: 'thinking', thinking: 'Hm.' }] }), said('Hi'), over, '[DONE]');
    expect(await read(blocks)).toMatchObject({ reasoning: 'Hm.', text: 'Hi' });
    const more = sse(delta({ reasoning: 'Hm' }), whole({ content: 'Hi', reasoning: 'Hm, so.' }), '[DONE]');
    expect(await read(more)).toMatchObject({ reasoning: 'Hm, so.', text: 'Hi' });
  });
});

describe('an error within an answer of status 200', () => {
  it.each<[string, unknown, object]>([
    [
      'in the choice',
      choice({ delta: {}, finish_reason: 'error', error: { code: 502, message: 'upstream is gone' } }),
      { details: { status: 502 } },
    ],
    ['of Groq', { choices: [], x_groq: { error: 'upstream is gone' } }, {}],
    ['in a list beside no choices', { success: false, errors: [{ message: 'upstream is gone' }], choices: [] }, {}],
    ['with a short message', { code: 1302, msg: 'upstream is gone' }, {}],
    ['as a problem', { type: 'about:blank', title: 'upstream is gone', status: 500 }, { details: { status: 500 } }],
    ['with a capital', { Error: 'upstream is gone' }, {}],
  ])('is told as the provider’s: %s', async (_where, event, error) => {
    for (const body of [sse(event, '[DONE]'), JSON.stringify(event)]) {
      expect(await read(body)).toMatchObject({
        last: { type: 'failed', error: { code: 'provider_unavailable', message: expect.stringContaining('upstream is gone'), ...error } },
      });
    }
  });
});

describe('a call', () => {
  const piece = (...calls: readonly unknown[]) => delta({ tool_calls: calls });
  const part = (id: string | null, name: string | null, args: unknown, more: object = { index: 0 }) => ({
    ...more,
    id,
    function: { name, arguments: args },
  });
  const one = [{ name: 'get_weather', input: { a: 1, b: [2] } }];
  const args = '{"a":1,"b":[2]}';

  it.each<[string, readonly unknown[]]>([
    ['whose name comes in pieces', [piece(part('x', 'get_', '')), piece(part(null, 'weather', '')), piece(part(null, null, args))]],
    ['whose name comes in pieces under its id', [piece(part('x', 'get_', '')), piece(part('x', 'weather', args))]],
    ['whose name grows', [piece(part('x', 'get_', '')), piece(part('x', 'get_weather', args))]],
    [
      'whose arguments come again, written otherwise',
      [piece(part('x', 'get_weather', args)), piece(part(null, null, '{ "b": [2], "a": 1 }'))],
    ],
    ['whose arguments come again as an object', [piece(part('x', 'get_weather', args)), piece(part(null, null, { a: 1, b: [2] }))]],
    ['whose arguments end with none', [piece(part('x', 'get_weather', args)), piece(part(null, null, '{}'))]],
    ['whose arguments grow', ['{"a', '{"a":', '{"a":1,"b"', args].map((text) => piece(part('x', 'get_weather', text)))],
    [
      'that is placed by a text',
      [piece(part('x', 'get_weather', '{"a":1,', { index: '0' })), piece(part(null, null, '"b":[2]}', { index: '0' }))],
    ],
    ['in calls by their places', [delta({ tool_calls: { 0: part('x', 'get_weather', args, {}) } })]],
    ['with parameters', [piece({ index: 0, id: 'x', function: { name: 'get_weather', parameters: { a: 1, b: [2] } } })]],
    ['with input', [piece({ index: 0, id: 'x', name: 'get_weather', input: { a: 1, b: [2] } })]],
    ['beside nothing', [piece(null, part('x', 'get_weather', args))]],
    ['that only the whole message has', [said('So.'), whole({ content: 'So.', tool_calls: [part('x', 'get_weather', args, {})] })]],
    [
      'that the whole message has again',
      [piece(part('x', 'get_weather', args)), whole({ tool_calls: [part('x', 'get_weather', { b: [2], a: 1 }, {})] })],
    ],
    [
      'of which the whole message has the end',
      [piece(part('x', 'get_weather', '{"a":1')), whole({ tool_calls: [part('x', 'get_weather', args, {})] })],
    ],
  ])('is one: %s', async (_how, events) => {
    const { calls, last, asked } = await read(sse(...events, delta({}, 'tool_calls'), '[DONE]'));
    expect(last).toMatchObject({ type: 'completed', finishReason: 'tool_calls' });
    expect([calls.map(({ name, input }) => ({ name, input })), asked]).toEqual([one, 1]);
  });

  it('without an id that follows one at its place is another call, and one that goes on within arguments is none', async () => {
    const two = await read(sse(piece(part(null, 'list', '')), piece(part(null, 'read', '{"a":1}')), over, '[DONE]'));
    expect(two.calls).toMatchObject([
      { name: 'list', input: {} },
      { name: 'read', input: { a: 1 } },
    ]);
    const nested = await read(sse(...['{"a":', '{"a":', '{"a":1}}}'].map((text) => piece(part('x', 'f', text))), over, '[DONE]'));
    expect(nested.calls).toMatchObject([{ input: { a: { a: { a: 1 } } } }]);
  });

  it('without arguments is whole where another follows, and may not be where the answer was cut', async () => {
    const calls = [part('x', 'list', ''), part('y', 'read', '', { index: 1 })];
    const cut = await read(sse(piece(...calls), delta({}, 'length'), '[DONE]'));
    expect(cut.calls).toMatchObject([
      { name: 'list', input: {} },
      { name: 'read', input: null, invalidInput: '' },
    ]);
    expect(cut.calls[0]).not.toHaveProperty('invalidInput');
  });

  it.each<[string, readonly unknown[], string]>([
    [
      'of a kind that nobody knows',
      [piece({ index: 0, id: 'x', type: 'custom', custom: { name: 'f', input: 'go' } })],
      'a tool call of a kind',
    ],
    [
      'that a whole message denies',
      [piece(part('x', 'f', '{"a":1}')), whole({ tool_calls: [part('x', 'f', '{"a":2}', {})] })],
      'not the sum of its pieces',
    ],
  ])('is refused: %s', async (_how, events, message) => {
    expect(await read(sse(...events, over, '[DONE]'))).toMatchObject({
      asked: 1,
      last: { type: 'failed', error: { code: 'provider_malformed', message: expect.stringContaining(message) } },
    });
  });
});

describe('the end of messages', () => {
  const text = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'hi' } };

  it('is known by the name of its event alone', async () => {
    const stop = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 3 } };
    expect(await read(`${sse(text, stop)}event: message_stop\ndata:\n\n`, 'anthropic')).toMatchObject({
      text: 'hi',
      last: { type: 'completed' },
    });
  });

  it('holds no text that vanishes', async () => {
    const stop = { type: 'message_delta', delta: { stop_reason: 'end_turn', text: ' there' } };
    expect(await read(sse(text, stop, { type: 'message_stop' }), 'anthropic')).toMatchObject({
      last: { type: 'failed', error: { code: 'provider_malformed' } },
    });
  });
});
