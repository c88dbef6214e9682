import { readFileSync } from 'node:fs';
import { type AssistantPart, createSseDecoder, type Usage } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Answer } from '#llm/contract';
import { createAnthropicMessages } from './anthropic-messages/upstream.ts';
import { createOpenAiChat } from './openai-chat/upstream.ts';
import type { UpstreamDialect } from './upstream.ts';

const openai = createOpenAiChat({ maxTokensField: 'max_tokens' });
const anthropic = createAnthropicMessages({ promptCaching: false });

interface Read {
  readonly deltas: readonly string[];
  readonly text: string;
  readonly reasoning: string;
  readonly answer: Answer | null;
  readonly usage: Usage | null;
  readonly error: unknown;
}

/** Reads a stream, or (as an object) an answer in one piece. */
function read(dialect: UpstreamDialect, body: string | Uint8Array | Record<string, unknown>, cuts: readonly number[] = []): Read {
  const deltas: string[] = [];
  const said = { text: '', reasoning: '' };
  const decoder = dialect.decoder({
    provider: 'p',
    model: 'm',
    onDelta(kind, text) {
      deltas.push(text);
      said[kind] += text;
    },
  });
  const sse = createSseDecoder({ maxEventChars: 4_000_000, onEvent: decoder.event });
  let answer: Answer | null = null;
  let error: unknown = null;
  try {
    if (typeof body === 'object' && !(body instanceof Uint8Array)) decoder.document(body);
    else {
      const bytes = Buffer.from(body as string); // a text, or bytes: both overloads copy
      const at = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
      for (const [index, end] of at.slice(1).entries()) sse.push(bytes.subarray(at[index], end));
    }
    answer = decoder.answer();
  } catch (thrown) {
    error = thrown;
  }
  return { deltas, ...said, answer, usage: decoder.usage(), error };
}

const textOf = (answer: Answer | null, type: 'text' | 'reasoning') =>
  (answer?.content ?? []).map((part) => (part.type === type && 'text' in part ? part.text : '')).join('');
const callsOf = (answer: Answer | null) =>
  (answer?.content ?? []).filter((part): part is Extract<AssistantPart, { type: 'tool_call' }> => part.type === 'tool_call');

const sse = (...events: readonly unknown[]) =>
  events.map((event) => (typeof event === 'string' ? event : `data: ${JSON.stringify(event)}\n\n`)).join('');
const end = 'data: [DONE]\n\n';
const chunk = (delta: unknown, finish_reason: unknown = null, more: object = {}) => ({
  id: 'r1',
  choices: [{ index: 0, delta, finish_reason }],
  ...more,
});
const said = (...deltas: readonly unknown[]) => sse(...deltas.map((delta) => chunk(delta)), chunk({}, 'stop'), end);

const start = (usage: object = {}) => ({ type: 'message_start', message: { content: [], usage } });
const block = (index: unknown, content_block: unknown) => ({ type: 'content_block_start', index, content_block });
const piece = (index: unknown, delta: unknown) => ({ type: 'content_block_delta', index, delta });
const stop = (index: unknown) => ({ type: 'content_block_stop', index });
const over = (stop_reason: unknown = 'end_turn', usage: object = {}) =>
  sse({ type: 'message_delta', delta: { stop_reason }, usage }, { type: 'message_stop' });

/** Text and reasoning in both formats, one event for each piece. */
const spoken = {
  openai: (pieces: readonly (readonly [kind: 'text' | 'reasoning', text: string])[]) =>
    said(...pieces.map(([kind, text]) => (kind === 'text' ? { content: text } : { reasoning_content: text }))),
  anthropic: (pieces: readonly (readonly [kind: 'text' | 'reasoning', text: string])[]) =>
    sse(
      start(),
      block(0, { type: 'text', text: '' }),
      ...pieces.map(([kind, text]) =>
        piece(0, kind === 'text' ? { type: 'text_delta', text } : { type: 'thinking_delta', thinking: text }),
      ),
      stop(0),
    ) + over(),
};
const dialects = { openai, anthropic };
const wires = ['openai', 'anthropic'] as const;

describe('streams of servers in the field', () => {
  const file = (name: string) => readFileSync(new URL(`../../../../../test/cases/${name}`, import.meta.url));

  it.each<[string, UpstreamDialect, object]>([
    [
      'id-changes.openai.sse',
      openai,
      { content: [{ type: 'tool_call', name: 'fs_list', input: { path: '.' } }], finishReason: 'tool_calls' },
    ],
    ['arguments-null.openai.sse', openai, { content: [{ type: 'tool_call', name: 'fs_list', input: {} }], finishReason: 'tool_calls' }],
    ['heartbeat.openai.sse', openai, { content: [{ type: 'text', text: 'All is well.' }], finishReason: 'stop' }],
    ['heartbeat.anthropic.sse', anthropic, { content: [{ type: 'text', text: 'All is well.' }], finishReason: 'stop' }],
    ['half-characters.openai.sse', openai, { content: [{ type: 'text', text: 'go 🚀 up' }], finishReason: 'stop' }],
    ['half-characters.anthropic.sse', anthropic, { content: [{ type: 'text', text: 'go 🚀 up' }], finishReason: 'stop' }],
    [
      'content-list.openai.sse',
      openai,
      {
        content: [
          { type: 'reasoning', text: 'It greets. I greet.' },
          { type: 'text', text: 'Hello' },
        ],
        finishReason: 'stop',
      },
    ],
  ])('%s gives the same answer however its bytes are cut', (name, dialect, expected) => {
    const whole = read(dialect, file(name));
    expect(whole.error).toBeNull();
    expect(whole.answer).toMatchObject(expected);
    expect(whole.usage).toMatchObject({ inputTokens: 40, outputTokens: 8 });
    for (const delta of whole.deltas) expect(delta.isWellFormed()).toBe(true);
    expect(whole.text).toBe(textOf(whole.answer, 'text'));
    expect(whole.reasoning).toBe(textOf(whole.answer, 'reasoning'));
    fc.assert(
      fc.property(fc.array(fc.nat(5_000), { maxLength: 30 }), (cuts) => {
        expect(read(dialect, file(name), cuts)).toEqual(whole);
      }),
      { numRuns: 40 },
    );
  });

  it('json-instead-of-stream.json is an answer with its account', () => {
    expect(read(openai, JSON.parse(file('json-instead-of-stream.json').toString()))).toMatchObject({
      text: 'plain',
      answer: { content: [{ type: 'text', text: 'plain' }], finishReason: 'stop' },
      usage: { inputTokens: 5_000, outputTokens: 300 },
    });
  });
});

describe('signs of life', () => {
  const signs = [
    'data:\n\n',
    'data: \n\n',
    ': ping\n\n',
    'event: ping\ndata: {}\n\n',
    'event: keep-alive\ndata: now\n\n',
    'data: {}\n\n',
    'data: null\n\n',
    '\n\n',
  ];

  it.each(wires)('are no part of the answer on the wire of %s, wherever they come', (wire) => {
    const quiet = spoken[wire]([
      ['reasoning', 'hm'],
      ['text', 'All '],
      ['text', 'is well.'],
    ]);
    const loud = quiet.replaceAll('\n\n', `\n\n${signs.join('')}`);
    expect(read(dialects[wire], loud)).toEqual(read(dialects[wire], quiet));
    expect(read(dialects[wire], quiet).error).toBeNull();
  });
});

describe('half characters', () => {
  const units = fc
    .array(fc.constantFrom('a', 'é', '🚀', '👨‍👩‍👧', '漢', '\ud83d', '\ude80', '\ud83d\ud83d'), { maxLength: 12 })
    .map((texts) => texts.join(''));
  const cutText = fc.tuple(units, fc.array(fc.nat(30), { maxLength: 8 })).map(([text, cuts]) => {
    const at = [...new Set([0, ...cuts.filter((cut) => cut < text.length), text.length])].sort((a, b) => a - b);
    return at.slice(1).map((last, index) => text.slice(at[index], last));
  });

  it.each(wires)('never leave in a delta on the wire of %s, however the text is cut over events', (wire) => {
    fc.assert(
      fc.property(cutText, cutText, fc.infiniteStream(fc.boolean()), (text, reasoning, order) => {
        const left = { text: [...text], reasoning: [...reasoning] };
        const pieces: ['text' | 'reasoning', string][] = [];
        while (left.text.length + left.reasoning.length > 0) {
          const kind = left.reasoning.length === 0 || (left.text.length > 0 && order.next().value) ? 'text' : 'reasoning';
          pieces.push([kind, left[kind].shift() ?? '']);
        }
        const done = read(dialects[wire], spoken[wire](pieces));
        expect(done.error).toBeNull();
        for (const delta of done.deltas) expect(delta.isWellFormed() && delta !== '').toBe(true);
        expect(done.text).toBe(text.join('').toWellFormed());
        expect(done.reasoning).toBe(reasoning.join('').toWellFormed());
        expect(textOf(done.answer, 'text')).toBe(done.text);
        expect(textOf(done.answer, 'reasoning')).toBe(done.reasoning);
      }),
      { numRuns: 300 },
    );
  });

  it('wait for nothing but their other half', () => {
    expect(
      read(
        openai,
        spoken.openai([
          ['text', 'go \ud83d'],
          ['text', '\ude80 up'],
        ]),
      ).deltas,
    ).toEqual(['go ', '🚀', ' up']);
    expect(
      read(
        openai,
        spoken.openai([
          ['text', 'go \ud83d'],
          ['text', 'up'],
        ]),
      ).deltas,
    ).toEqual(['go ', '\ufffd', 'up']);
    expect(read(openai, spoken.openai([['text', 'go \ud83d']])).deltas).toEqual(['go ', '\ufffd']);
    expect(
      read(
        openai,
        spoken.openai([
          ['text', '\ud83d'],
          ['reasoning', 'hm'],
          ['text', '\ude80'],
        ]),
      ).answer?.content,
    ).toEqual([
      { type: 'text', text: '🚀' },
      { type: 'reasoning', text: 'hm' },
    ]);
  });

  it('are joined in arguments, and replaced where the other half never comes', () => {
    const cut = (first: string, second: string) => [
      read(
        openai,
        sse(
          chunk({ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: first } }] }),
          chunk({ tool_calls: [{ index: 0, function: { arguments: second } }] }),
          chunk({}, 'tool_calls'),
          end,
        ),
      ),
      read(
        anthropic,
        sse(
          start(),
          block(0, { type: 'tool_use', id: 'a', name: 'f', input: {} }),
          piece(0, { type: 'input_json_delta', partial_json: first }),
          piece(0, { type: 'input_json_delta', partial_json: second }),
          stop(0),
        ) + over('tool_use'),
      ),
    ];
    for (const { answer } of cut('{"k":"\ud83d', '\ude80"}')) expect(callsOf(answer)).toMatchObject([{ input: { k: '🚀' } }]);
    for (const { answer } of cut('{"k":"\\ud83d', '\\ude80"}')) expect(callsOf(answer)).toMatchObject([{ input: { k: '🚀' } }]);
    for (const { answer } of cut('{"k\\ud83d":["\\ude80', 'x"]}'))
      expect(callsOf(answer)).toMatchObject([{ input: { 'k\ufffd': ['\ufffdx'] } }]);
    for (const { answer } of cut('{"k":', '"\ud83d oops')) expect(callsOf(answer)).toMatchObject([{ invalidInput: '{"k":"\ufffd oops' }]);
  });
});

describe('pieces of calls', () => {
  const part = (index: number | undefined, id: string | undefined, name: string | undefined, args: unknown) => ({
    index,
    id,
    function: { name, arguments: args },
  });
  const calls = (...parts: readonly unknown[]) => read(openai, said(...parts.map((item) => ({ tool_calls: [item] }))));
  const f = { name: 'f', input: { k: 1 } };

  it.each<[string, readonly unknown[], readonly object[]]>([
    ['another id in each piece', [part(0, 'a', 'f', ''), part(0, 'b', undefined, '{"k"'), part(0, 'c', undefined, ':1}')], [f]],
    ['id and name in each piece', [part(0, 'a', 'f', ''), part(0, 'a', 'f', '{"k"'), part(0, 'a', 'f', ':1}')], [f]],
    ['another id and the name in each piece', [part(0, 'a', 'f', '{"k"'), part(0, 'b', 'f', ':1'), part(0, 'c', 'f', '}')], [f]],
    ['another index in each piece', [part(0, 'a', 'f', '{"k"'), part(1, 'a', 'f', ':1'), part(2, 'a', 'f', '}')], [f]],
    ['another index and no name', [part(0, 'a', 'f', '{"k"'), part(1, undefined, undefined, ':1}')], [f]],
    ['an empty piece with the name after the last', [part(0, 'a', 'f', '{"k":1}'), part(0, 'a', 'f', '')], [f]],
    [
      'an empty name',
      [part(0, 'a', '', '{"k":1}'), part(1, 'b', '', '{}')],
      [
        { name: '', input: { k: 1 } },
        { name: '', input: {} },
      ],
    ],
    ['the name after the id', [part(0, 'a', undefined, ''), part(0, undefined, 'f', '{"k":1}')], [f]],
    ['an object', [part(0, 'a', 'f', { k: 1 })], [f]],
    ['an empty object before the pieces', [part(0, 'a', 'f', '{}'), part(0, undefined, undefined, '{"k":1}')], [f]],
    ['null before the pieces', [part(0, 'a', 'f', 'null'), part(0, undefined, undefined, '{"k":1}')], [f]],
    [
      'the whole once more at the end',
      [part(0, 'a', 'f', '{"k"'), part(0, undefined, undefined, ':1}'), part(0, undefined, undefined, '{"k"' + ':1}')],
      [f],
    ],
    ['an object within a text', [part(0, 'a', 'f', JSON.stringify('{"k":1}'))], [f]],
    ['no level for the function', [{ index: 0, id: 'a', name: 'f', arguments: '{"k":1}' }], [f]],
    [
      'the same name twice, whole, with nothing to tell them apart',
      [part(undefined, '', 'f', '{"k":1}'), part(undefined, '', 'f', '{"k":2}')],
      [f, { input: { k: 2 } }],
    ],
    [
      'the same name twice, in pieces, with nothing to tell them apart',
      [part(0, '', 'f', ''), part(0, '', undefined, '{"k":1}'), part(0, '', 'f', ''), part(0, '', undefined, '{"k":2}')],
      [f, { input: { k: 2 } }],
    ],
    ['one id for all', [part(0, 'a', 'f', '{"k":1}'), part(1, 'a', 'f', ''), part(1, 'a', undefined, '{"k":2}')], [f, { input: { k: 2 } }]],
    ['one id and one index for all', [part(0, 'a', 'f', '{"k":1}'), part(0, 'a', 'g', '{"k":2}')], [f, { name: 'g', input: { k: 2 } }]],
    [
      'an id, and pieces by turns',
      [
        part(undefined, 'a', 'f', '{"k"'),
        part(undefined, 'b', 'g', '{'),
        part(undefined, 'a', undefined, ':1}'),
        part(undefined, 'b', undefined, '}'),
      ],
      [f, { name: 'g', input: {} }],
    ],
  ])('are put together when a server gives %s', (_what, parts, expected) => {
    const { answer } = calls(...parts);
    expect(callsOf(answer)).toMatchObject(expected);
    expect(callsOf(answer)).toHaveLength(expected.length);
    expect(answer?.finishReason).toBe('tool_calls');
  });

  it('are put together whichever of index, id and name a server repeats, changes or leaves out', () => {
    const style = fc.record({
      index: fc.constantFrom('own', 'zero', 'none'),
      id: fc.constantFrom('first', 'every', 'changing', 'none'),
      name: fc.constantFrom('first', 'every'),
      beginsEmpty: fc.boolean(),
    });
    const made = fc.array(fc.record({ name: fc.constantFrom('f', 'g'), text: fc.string({ maxLength: 8 }), cut: fc.nat(20) }), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(style, made, ({ index, id, name, beginsEmpty }, wanted) => {
        const inputs = wanted.map(({ text }, at) => ({ at, text: `{"${text}` }));
        const parts = wanted.flatMap((call, at) => {
          const args = JSON.stringify(inputs[at]);
          const cut = 1 + (call.cut % (args.length - 1));
          const texts = [...(beginsEmpty ? [''] : []), args.slice(0, cut), args.slice(cut)];
          return texts.map((text, nth) =>
            part(
              index === 'none' ? undefined : index === 'zero' ? 0 : at,
              id === 'none' || (id === 'first' && nth > 0) ? undefined : id === 'changing' ? `id-${at}-${nth}` : `id-${at}`,
              name === 'first' && nth > 0 ? undefined : call.name,
              text,
            ),
          );
        });
        const read = callsOf(calls(...parts).answer);
        expect(read.map(({ name, input }) => ({ name, input }))).toEqual(wanted.map(({ name }, at) => ({ name, input: inputs[at] })));
        expect(new Set(read.map((call) => call.providerCallId)).size).toBe(wanted.length);
      }),
      { numRuns: 400 },
    );
  });

  it.each([
    ['{"id":9007199254740993}', { id: '9007199254740993' }],
    ['{"ids":[-12345678901234567890,7],"at":1e400}', { ids: ['-12345678901234567890', 7], at: '1e400' }],
    ['{"exact":100000000000000000000,"text":"9007199254740993","small":1.5}', { exact: 1e20, text: '9007199254740993', small: 1.5 }],
  ])('keep every digit of a number that no double holds: %s', (args, input) => {
    const whole = {
      choices: [{ message: { tool_calls: [{ id: 'a', function: { name: 'f', arguments: args } }] }, finish_reason: 'tool_calls' }],
    };
    expect(callsOf(read(openai, whole).answer)).toMatchObject([{ input }]);
    expect(callsOf(calls(part(0, 'a', 'f', args)).answer)).toMatchObject([{ input }]);
  });

  it.each([undefined, null, '', ' ', 'null', ' null ', '{}', {}, [], '[]', '""', '"null"'])('that say %j have no arguments', (args) => {
    const none = [{ type: 'tool_call', providerCallId: 'a', name: 'f', input: {} }];
    expect(callsOf(calls(part(0, 'a', 'f', args)).answer)).toEqual(none);
    expect(callsOf(calls(part(0, 'a', 'f', ''), part(0, undefined, undefined, args)).answer)).toEqual(none);
    const whole = {
      choices: [{ message: { tool_calls: [{ id: 'a', function: { name: 'f', arguments: args } }] }, finish_reason: 'tool_calls' }],
    };
    expect(callsOf(read(openai, whole).answer)).toEqual(none);
    const begun = sse(start(), block(0, { type: 'tool_use', id: 'a', name: 'f', input: args }), stop(0)) + over('tool_use');
    expect(callsOf(read(anthropic, begun).answer)).toEqual(none);
    const pieces = sse(
      start(),
      block(0, { type: 'tool_use', id: 'a', name: 'f' }),
      piece(0, { type: 'input_json_delta', partial_json: args }),
      stop(0),
    );
    expect(callsOf(read(anthropic, pieces + over('tool_use')).answer)).toEqual(none);
    const message = { type: 'message', content: [{ type: 'tool_use', id: 'a', name: 'f', input: args }], stop_reason: 'tool_use' };
    expect(callsOf(read(anthropic, message).answer)).toEqual(none);
  });

  it('of the older kind are calls too', () => {
    const { answer } = read(
      openai,
      sse(
        chunk({ function_call: { name: 'f', arguments: '' } }),
        chunk({ function_call: { arguments: '{"k":1}' } }),
        chunk({}, 'function_call'),
        end,
      ),
    );
    expect(answer).toMatchObject({ content: [f], finishReason: 'tool_calls' });
  });

  it('belong to their block, or to the last one when a server numbers none', () => {
    const use = (index: unknown, name: string, text: string) => [
      block(index, { type: 'tool_use', id: name, name, input: { k: 0 } }),
      piece(index, { type: 'input_json_delta', partial_json: text }),
    ];
    for (const [first, second] of [
      [0, 1],
      [0, 0],
      [undefined, undefined],
    ]) {
      const { answer } = read(anthropic, sse(start(), ...use(first, 'f', '{"k":1}'), ...use(second, 'g', '')) + over('tool_use'));
      expect(callsOf(answer)).toMatchObject([f, { name: 'g', input: { k: 0 } }]);
    }
    const stray =
      sse(start(), block(0, { type: 'text', text: '' }), piece(0, { type: 'input_json_delta', partial_json: '{"k":1}' })) +
      over('tool_use');
    expect(read(anthropic, stray).error).toMatchObject({ code: 'provider_malformed', retryable: false });
  });
});

describe('content', () => {
  it.each<[string, unknown, object]>([
    [
      'a list of parts',
      [
        { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
        { type: 'text', text: 'hi' },
      ],
      { reasoning: 'hm', text: 'hi' },
    ],
    ['a part', { type: 'text', text: 'hi' }, { text: 'hi' }],
    ['a part without a type', { text: 'hi' }, { text: 'hi' }],
    ['a part of thinking without a type', { thinking: 'hm' }, { reasoning: 'hm', text: '' }],
    [
      'texts of another format',
      [
        { type: 'output_text', text: 'hi', annotations: [] },
        { type: 'refusal', refusal: ' no' },
      ],
      { text: 'hi no' },
    ],
    ['a text as an object', [{ type: 'text', text: { value: 'hi' } }], { text: 'hi' }],
    ['a list of texts', ['h', null, 'i'], { text: 'hi' }],
    ['a summary of reasoning', [{ type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm' }] }], { reasoning: 'hm', text: '' }],
    [
      'a reference',
      [
        { type: 'text', text: 'hi' },
        { type: 'reference', reference_ids: [1] },
      ],
      { text: 'hi' },
    ],
    ['the same under two names', [{ type: 'text', text: 'hi', content: 'hi' }], { text: 'hi' }],
    ['nothing', [null, [], '', {}, { type: 'text' }], { text: '' }],
  ])('that is %s is read', (_what, content, expected) => {
    expect(read(openai, sse(chunk({ content }), chunk({ content: '' }, 'stop'), end))).toMatchObject({
      error: null,
      reasoning: '',
      ...expected,
    });
    const whole = { choices: [{ message: { content }, finish_reason: 'stop' }, null] };
    expect(read(openai, whole)).toMatchObject({ error: null, reasoning: '', ...expected });
  });

  it.each<[string, unknown]>([
    [
      'of an unknown type',
      [
        { type: 'text', text: 'hi' },
        { type: 'holo', text: 'lost' },
      ],
    ],
    ['of an unknown type without text', [{ type: 'image_url', image_url: { url: 'data:' } }]],
    ['with text in an unknown place', [{ type: 'text', body: 'lost' }]],
    ['that is a number', 5],
    ['that is nested without end', Array.from({ length: 5_000 }).reduce<unknown>((inner) => [inner], 'lost')],
  ])('%s is refused, and not asked for again', (_what, content) => {
    const refused = { answer: null, error: { code: 'provider_malformed', retryable: false } };
    expect(read(openai, said({ content }))).toMatchObject(refused);
    expect(read(openai, said({ content: 'hi' }, { reasoning_content: content }))).toMatchObject(refused);
    expect(
      read(anthropic, sse(start(), block(0, { type: 'text', text: '' }), piece(0, { type: 'text_delta', text: content })) + over()),
    ).toMatchObject(refused);
  });

  it.each<[string, string, UpstreamDialect]>([
    ['audio', said({ audio: { transcript: 'lost' } }), openai],
    ['images', said({ content: 'hi', images: [{ type: 'image_url' }] }), openai],
    [
      'two answers',
      sse(
        {
          choices: [
            { index: 0, delta: { content: 'hi' }, finish_reason: 'stop' },
            { index: 1, delta: { content: 'lost' } },
          ],
        },
        end,
      ),
      openai,
    ],
    [
      'a message that is not the sum of its pieces',
      sse(chunk({ content: 'hi' }), { choices: [{ message: { content: 'lost' }, finish_reason: 'stop' }] }, end),
      openai,
    ],
    ['a block of an unknown type', sse(start(), block(0, { type: 'server_tool_use', input: {} })) + over(), anthropic],
    [
      'a delta of an unknown type',
      sse(start(), block(0, { type: 'text' }), piece(0, { type: 'holo_delta', text: 'lost' })) + over(),
      anthropic,
    ],
    ['an event of an unknown type with text', sse(start(), { type: 'completion', completion: 'lost' }) + over(), anthropic],
  ])('with %s is refused', (_what, stream, dialect) => {
    expect(read(dialect, stream)).toMatchObject({ answer: null, error: { code: 'provider_malformed', retryable: false } });
  });

  it('is read wherever servers put it', () => {
    const text = (stream: string) => read(openai, stream);
    expect(text(sse({ choices: [{ message: { content: 'hi' }, finish_reason: 'stop' }] }, end))).toMatchObject({ text: 'hi' });
    expect(text(sse({ choices: [{ text: 'h' }] }, { choices: [{ text: 'i', finish_reason: 'stop' }] }, end))).toMatchObject({ text: 'hi' });
    const sums = ['h', 'hi'].map((content, at) => ({ choices: [{ delta: { content: content[at] }, message: { content } }] }));
    expect(text(sse(...sums, { choices: [{ message: { content: 'hi!' }, finish_reason: 'stop' }] }, end))).toMatchObject({
      text: 'hi!',
      error: null,
    });
    expect(
      text(said({ reasoning_content: '', reasoning: 'hm' }, { reasoning_content: 'm', reasoning: 'm' }, { content: 'hi' })),
    ).toMatchObject({ reasoning: 'hmm' });
    expect(
      text(
        said(
          {
            reasoning_details: [
              { type: 'reasoning.text', text: 'hm' },
              { type: 'reasoning.encrypted', data: 'x' },
            ],
          },
          { content: 'hi' },
        ),
      ),
    ).toMatchObject({ reasoning: 'hm' });
    const split = sse(
      {
        choices: [
          { index: 0, delta: { content: 'hi' }, finish_reason: 'tool_calls' },
          { index: 1, delta: { tool_calls: [{ id: 'a', function: { name: 'f' } }] } },
        ],
      },
      end,
    );
    expect(text(split).answer?.content).toMatchObject([{ text: 'hi' }, { name: 'f', input: {} }]);
    const begun = sse(
      { type: 'message_start', message: { content: [{ type: 'text', text: 'h' }] } },
      block(0, { type: 'text', text: 'i' }),
      piece(0, { type: 'citations_delta', citation: {} }),
    );
    expect(read(anthropic, begun + over())).toMatchObject({ text: 'hi', error: null });
  });

  it('is in the deltas and in the answer, or the answer fails, whatever its shape', () => {
    const shape = fc.constantFrom<(text: string) => unknown>(
      (text) => ({ content: text }),
      (text) => ({ content: [text] }),
      (text) => ({ content: { text } }),
      (text) => ({ content: [{ type: 'text', text }] }),
      (text) => ({ content: [{ type: 'output_text', content: [{ type: 'text', text: { value: text } }] }] }),
      (text) => ({ content: null, refusal: text }),
      (text) => ({
        content: [
          { type: 'citation', ids: [1] },
          { type: 'text', text },
        ],
        reasoning: null,
      }),
      (text) => ({ content: [{ type: 'unheard', text }] }),
      (text) => ({ content: [{ type: 'text', unheard: text }] }),
      (text) => ({ content: '', text }),
      (text) => [{ text }],
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(shape, fc.string({ unit: 'grapheme', minLength: 1, maxLength: 5 })), { maxLength: 6 }),
        fc.array(fc.nat(4_000)),
        (pieces, cuts) => {
          const { text, answer } = read(openai, said(...pieces.map(([shapeOf, piece]) => shapeOf(piece))), cuts);
          if (answer === null) expect(JSON.stringify(pieces.map(([shapeOf, piece]) => shapeOf(piece)))).toContain('unheard');
          else expect([text, textOf(answer, 'text')]).toEqual([pieces.map(([, piece]) => piece).join(''), text]);
        },
      ),
      { numRuns: 200 },
    );
  });
});
