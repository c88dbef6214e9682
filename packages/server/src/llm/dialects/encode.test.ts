import type { AssistantPart, Message } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeRequest, strictAnthropic, strictMistral, strictOpenAi } from '#llm/testing';
import toolNames from '../../../../../test/cases/10-tool-names.json' with { type: 'json' };
import { createAnthropicMessages } from './anthropic-messages/upstream.ts';
import { createOmissions } from './features.ts';
import { givers, message } from './messages.testkit.ts';
import { createOpenAiChat } from './openai-chat/upstream.ts';

const common = { provider: 'p' };
const mistral = createOmissions(() => ['userAfterTool']);
const wires = [
  ['OpenAI', createOpenAiChat({ ...common, maxTokensField: 'max_completion_tokens' }), strictOpenAi],
  ['Mistral', createOpenAiChat({ ...common, maxTokensField: 'max_tokens', omissions: mistral }), strictMistral],
  [
    'Anthropic',
    createAnthropicMessages({ ...common, promptCaching: true, thinking: { type: 'enabled', budgetTokens: 1_024 } }),
    strictAnthropic,
  ],
] as const;
const call = { model: 'm', maxOutputTokens: 2_000 };

/** Reasoning that only its giver may see, and thinking in the middle of an answer, are looked at by themselves. */
function withoutGivenThinking(messages: readonly Message[]): Message[] {
  return messages.map((item) => {
    if (item.role !== 'assistant') return item;
    const content = item.content.map((part) => (part.type === 'reasoning' ? { ...part, givenBy: undefined } : part));
    return { role: 'assistant', content };
  });
}

function allTexts(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(allTexts) : [];
}

describe.each(wires)('what is sent to %s', (_name, dialect, strict) => {
  const send = (messages: readonly Message[]) => dialect.encode(makeRequest('', { messages }), call);

  it('is taken by a server as strict as the real one, whatever is stored', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 10 }), (messages) => {
        expect(strict(send(withoutGivenThinking(messages)))).toEqual([]);
      }),
      { numRuns: 400 },
    );
  });

  it('has every text and every result that is not blank', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 10 }), (messages) => {
        const sent = allTexts(JSON.parse(send(messages)).messages).join('\n');
        const stored = messages.flatMap(({ content }) =>
          content.flatMap((part) => (part.type === 'text' ? part.text : part.type === 'tool_result' ? part.output : [])),
        );
        for (const item of stored) if (item.trim() !== '') expect(sent).toContain(item.toWellFormed());
      }),
      { numRuns: 300 },
    );
  });

  it('begins as before when the conversation has grown, and is the same for the same conversation', () => {
    const bare = (messages: readonly Message[]) =>
      JSON.parse(send(messages).replaceAll(',"cache_control":{"type":"ephemeral"}', '')).messages as unknown[];
    const asked: Message = { role: 'user', content: [{ type: 'text', text: 'and then?' }] };
    const answered: Message = { role: 'assistant', content: [{ type: 'text', text: 'done' }] };
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), fc.array(message, { maxLength: 4 }), (before, after) => {
        const old = bare([...before, asked]);
        expect(bare([...before, asked, answered, ...after]).slice(0, old.length)).toEqual(old);
        expect(send(before)).toBe(send(before));
      }),
      { numRuns: 200 },
    );
  });
});

const user = (value: string): Message => ({ role: 'user', content: [{ type: 'text', text: value }] });
const [openai, , anthropic] = wires.map(([, dialect]) => dialect);
const messagesOf = (dialect: (typeof wires)[number][1] | undefined, messages: readonly Message[], changes = {}) =>
  JSON.parse(dialect?.encode(makeRequest('', { messages, ...changes }), call) ?? '').messages;
const toolTurn = (parts: readonly AssistantPart[], providerCallId = 'a'): Message[] => [
  { role: 'assistant', content: [...parts, { type: 'tool_call', providerCallId, name: 'f', input: {} }] },
  { role: 'tool', content: [{ type: 'tool_result', providerCallId, name: 'f', output: 'fine', isError: false }] },
];

describe('a call and its result', () => {
  it.each(toolNames.names)('of the made-up tool %j go under one legal name', (made) => {
    const messages = [user('go'), ...toolTurn([{ type: 'tool_call', providerCallId: 'b', name: made, input: {} }])];
    expect(messagesOf(openai, messages)[2].tool_calls[0].function.name).toMatch(new RegExp(toolNames.acceptedInHistory.openai));
    expect(messagesOf(anthropic, messages)[1].content[0].name).toMatch(new RegExp(toolNames.acceptedInHistory.anthropic));
  });

  it('never go under the name of another tool', () => {
    const names = ['fs.list', 'fs_list', 'fs/list', 'fs list', '', '$', 'x'.repeat(65), 'x'.repeat(66)];
    const parts = names.map((made) => ({ type: 'tool_call' as const, providerCallId: made, name: made, input: {} }));
    const [, answered] = messagesOf(anthropic, [user('go'), { role: 'assistant', content: parts }]);
    expect(new Set(answered.content.map((block: { name: string }) => block.name)).size).toBe(names.length);
  });

  it('are matched in their order where one id stands for several', () => {
    const parts = ['first', 'second'].map((label) => ({ type: 'tool_call' as const, providerCallId: 'same', name: 'f', input: { label } }));
    const results = ['1', '2', '3'].map((output) => ({
      type: 'tool_result' as const,
      providerCallId: 'same',
      name: 'f',
      output,
      isError: false,
    }));
    const [, answered, back] = messagesOf(anthropic, [
      user('go'),
      { role: 'assistant', content: parts },
      { role: 'tool', content: results },
    ]);
    expect(answered.content).toMatchObject([{ input: { label: 'first' } }, { input: { label: 'second' } }]);
    expect(back.content).toMatchObject([
      { tool_use_id: answered.content[0].id, content: '1' },
      { tool_use_id: answered.content[1].id, content: '2' },
      { type: 'text', text: 'Result of a call of f: 3' },
    ]);
  });

  it.each(wires)('are 200 at once, and %s takes them', (_wire, dialect, strict) => {
    const ids = Array.from({ length: 200 }, (_, at) => `${at}`);
    const messages: Message[] = [
      user('go'),
      { role: 'assistant', content: ids.map((made) => ({ type: 'tool_call', providerCallId: made, name: 'f', input: {} })) },
      {
        role: 'tool',
        content: ids.map((made) => ({ type: 'tool_result', providerCallId: made, name: 'f', output: `gave ${made}`, isError: false })),
      },
    ];
    const body = dialect.encode(makeRequest('', { messages }), call);
    expect(strict(body)).toEqual([]);
    for (const made of ids) expect(body).toContain(`"gave ${made}"`);
  });

  it('that never ended is answered as such', () => {
    const [cut] = toolTurn([]);
    const sent = messagesOf(openai, [user('go'), ...(cut === undefined ? [] : [cut]), user('and?')]);
    expect(sent.slice(3)).toMatchObject([
      { role: 'tool', content: 'Error: (no result: the call was not finished)' },
      { role: 'user', content: 'and?' },
    ]);
  });
});

describe('what only its giver understands', () => {
  const [own, older, other] = givers;
  const thought = (givenBy: (typeof givers)[number] | undefined, signature?: string) => ({
    type: 'reasoning' as const,
    text: `thought of ${givenBy?.provider}/${givenBy?.model}`,
    field: 'reasoning',
    ...(signature === undefined ? {} : { signature }),
    ...(givenBy === undefined ? {} : { givenBy }),
  });

  it('goes back to it in the field that it came in, with the calls that it led to', () => {
    const sent = messagesOf(openai, [
      user('go'),
      ...toolTurn([thought(own)]),
      ...toolTurn([thought(older)]),
      ...toolTurn([thought(other)]),
      ...toolTurn([thought(undefined)]),
    ]);
    const answers = sent.filter((item: { role: string }) => item.role === 'assistant');
    expect(answers.map((item: object) => ('reasoning' in item ? item.reasoning : null))).toEqual(['thought of p/m', null, null, null]);
  });

  it('goes back with a proof alone, and to no other model', () => {
    const turns = [thought(own, 's'), thought(own), thought(older, 's'), thought(other, 's')].flatMap((part) => toolTurn([part]));
    const blocks = messagesOf(anthropic, [user('go'), ...turns]).flatMap((item: { content: { type: string }[] }) => item.content);
    expect(blocks.filter(({ type }: { type: string }) => type === 'thinking')).toEqual([
      { type: 'thinking', thinking: 'thought of p/m', signature: 's' },
    ]);
  });

  it('stays where it was in the answer, since its proof holds there alone', () => {
    const content: AssistantPart[] = [
      thought(own, '1'),
      { type: 'tool_call', providerCallId: 'a', name: 'f', input: {} },
      thought(own, '2'),
      { type: 'text', text: 'so' },
      { type: 'tool_call', providerCallId: 'b', name: 'f', input: {} },
      thought(own, '3'),
    ];
    const [, answered] = messagesOf(anthropic, [user('go'), { role: 'assistant', content }]);
    expect(answered.content.map(({ type }: { type: string }) => type)).toEqual(['thinking', 'tool_use', 'thinking', 'text', 'tool_use']);
  });

  it('is not asked to go on where the calls were made by another model', () => {
    const asks = (messages: readonly Message[]) => JSON.parse(anthropic?.encode(makeRequest('', { messages }), call) ?? '').thinking;
    expect(asks([user('go'), ...toolTurn([thought(own, 's')])])).toBeDefined();
    expect(asks([user('go'), ...toolTurn([thought(other, 's')])])).toBeUndefined();
    expect(asks([user('go'), ...toolTurn([thought(other, 's')]), user('now')])).toBeUndefined();
    expect(asks([user('go'), ...toolTurn([]), { role: 'assistant', content: [{ type: 'text', text: 'ok' }] }, user('now')])).toBeDefined();
  });

  it('is asked to go on where the turn began with it', () => {
    const messages = [user('go'), ...toolTurn([thought(own, 's')]), ...toolTurn([thought(other, 's')]), ...toolTurn([])];
    expect(JSON.parse(anthropic?.encode(makeRequest('', { messages }), call) ?? '').thinking).toBeDefined();
  });

  it('is known by what the stream of the answer says', () => {
    const read = (
      dialect: (typeof wires)[number][1] | undefined,
      from: { provider: string; model: string },
      ...events: readonly unknown[]
    ) => {
      const decoder = dialect?.decoder({ ...from, onDelta: () => undefined });
      for (const event of events) decoder?.event('', JSON.stringify(event));
      return decoder?.answer().content ?? [];
    };
    const delta = (value: object, finish: string | null = null) => ({
      id: 'r',
      choices: [{ index: 0, delta: value, finish_reason: finish }],
    });
    const proof = { google: { thought_signature: 'sig' } };
    const calls = [
      { index: 0, id: 'a', function: { name: 'f', arguments: '{}' }, extra_content: proof },
      { index: 1, id: 'b', function: { name: 'f', arguments: '{}' } },
    ];
    const content = read(
      openai,
      { provider: 'p', model: 'm' },
      delta({ reasoning: 'I see' }),
      delta({ tool_calls: calls }),
      delta({}, 'tool_calls'),
    );
    const sent = messagesOf(openai, [user('go'), { role: 'assistant', content: [...content] }]);
    expect(sent[2]).toMatchObject({ reasoning: 'I see', tool_calls: [{ extra_content: proof }, {}] });
    expect(sent[2].tool_calls[1]).not.toHaveProperty('extra_content');
    const pieces = [
      { reasoning_details: [{ type: 'reasoning.text', index: 0, text: 'I ', signature: null }] },
      {
        reasoning_details: [
          { type: 'reasoning.text', index: 0, text: 'see', signature: 'sig' },
          { type: 'reasoning.encrypted', index: 1, data: 'x' },
        ],
      },
    ];
    const detailed = read(
      openai,
      { provider: 'p', model: 'm' },
      ...pieces.map((piece) => delta(piece)),
      delta({ tool_calls: calls }),
      delta({}, 'tool_calls'),
    );
    expect(messagesOf(openai, [user('go'), { role: 'assistant', content: [...detailed] }])[2]).toMatchObject({
      reasoning_details: [
        { type: 'reasoning.text', index: 0, text: 'I see', signature: 'sig' },
        { type: 'reasoning.encrypted', index: 1, data: 'x' },
      ],
    });
    const elsewhere = createOpenAiChat({ provider: 'q', maxTokensField: 'max_tokens' });
    expect(JSON.stringify(messagesOf(elsewhere, [user('go'), { role: 'assistant', content: [...content, ...detailed] }]))).not.toMatch(
      /I see|sig/,
    );
  });
});

describe('a tool', () => {
  const wide = {
    type: 'object',
    properties: { a: { type: 'array' }, n: { $ref: '#/$defs/Node' } },
    $defs: { Node: { type: 'object', properties: { next: { $ref: '#/$defs/Node' } } } },
  };
  const schemas: Record<string, unknown>[] = [
    {},
    { type: 'string' },
    { $schema: 'https://json-schema.org/draft/2020-12/schema', ...wide },
    { $ref: '#/definitions/In', definitions: { In: { type: 'object', properties: { oneOf: { type: 'string' } }, required: ['oneOf'] } } },
    {
      oneOf: [
        { properties: { a: {} }, required: ['a', 'c'] },
        { properties: { b: {} }, required: ['c'] },
      ],
      properties: { c: {} },
    },
    { allOf: [{ type: 'object', properties: { a: {} }, required: ['a'] }, { properties: { b: {} } }], enum: [1], not: {} },
  ];

  it.each(wires)('has an input that %s takes, whatever its schema', (_wire, dialect, strict) => {
    const tools = schemas.map((inputSchema, at) => ({ name: `tool.${at}`, description: at === 0 ? '' : 'does', inputSchema }));
    const body = dialect.encode(makeRequest('x', { tools }), call);
    expect(strict(body)).toEqual([]);
    expect(body).not.toMatch(/\$ref|\$schema|\$defs|definitions/);
  });

  it('keeps the names and the demands of its input', () => {
    const tools = schemas.map((inputSchema, at) => ({ name: `t${at}`, description: 'does', inputSchema }));
    const [, , list, referred, one, all] = JSON.parse(anthropic?.encode(makeRequest('x', { tools }), call) ?? '').tools;
    expect(list.input_schema.properties.a).toEqual({ type: 'array', items: {} });
    expect(referred.input_schema).toEqual({ type: 'object', properties: { oneOf: { type: 'string' } }, required: ['oneOf'] });
    expect(one.input_schema).toEqual({ type: 'object', properties: { a: {}, b: {}, c: {} }, required: ['c'] });
    expect(all.input_schema).toEqual({ type: 'object', properties: { a: {}, b: {} }, required: ['a'] });
  });

  it('is called by its own name when the wire knows it by another', () => {
    const tools = [{ name: 'fs.list', description: 'lists', inputSchema: { type: 'object' } }];
    const sent = JSON.parse(openai?.encode(makeRequest('x', { tools }), call) ?? '').tools[0].function.name;
    const calledFor = (offered: typeof tools) => {
      const decoder = openai?.decoder({ provider: 'p', model: 'm', onDelta: () => undefined, tools: offered });
      const piece = { index: 0, id: 'a', function: { name: sent, arguments: '{}' } };
      decoder?.event('', JSON.stringify({ id: 'r', choices: [{ index: 0, delta: { tool_calls: [piece] }, finish_reason: 'tool_calls' }] }));
      return decoder?.answer().content;
    };
    expect(calledFor(tools)).toMatchObject([{ name: 'fs.list' }]);
    // What one request calls so, another one may call by the name of the wire.
    expect(calledFor([{ name: sent, description: 'lists', inputSchema: { type: 'object' } }])).toMatchObject([{ name: sent }]);
  });

  it('is given what Anthropic knows under other names by its own', () => {
    const own = ['$filter', 'exists[parent]', 'x'.repeat(80), 'plain.one'];
    const properties = Object.fromEntries(own.map((member) => [member, { type: 'string' }]));
    const tools = [{ name: 'f', description: 'finds', inputSchema: { type: 'object', properties, required: own } }];
    const input = Object.fromEntries(own.map((member, at) => [member, `${at}`]));
    const history: Message[] = [
      user('go'),
      { role: 'assistant', content: [{ type: 'tool_call', providerCallId: 'a', name: 'f', input: { ...input, 'made up': 1 } }] },
    ];
    const text = anthropic?.encode(makeRequest('', { messages: history, tools }), call) ?? '';
    expect(strictAnthropic(text)).toEqual([]);
    const body = JSON.parse(text);
    const sent = Object.keys(body.tools[0].input_schema.properties);
    expect(body.tools[0].input_schema.required).toEqual(sent);
    expect(Object.keys(body.messages[1].content[0].input)).toEqual([...sent, 'made up']);
    const decoder = anthropic?.decoder({ provider: 'p', model: 'm', onDelta: () => undefined, tools });
    const block = { type: 'tool_use', id: 'b', name: 'f', input: Object.fromEntries(sent.map((member, at) => [member, `${at}`])) };
    for (const data of [
      { type: 'message_start', message: {} },
      { type: 'content_block_start', index: 0, content_block: block },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'tool_use' } },
      { type: 'message_stop' },
    ])
      decoder?.event(data.type, JSON.stringify(data));
    expect(decoder?.answer().content).toMatchObject([{ name: 'f', input }]);
  });

  it('that a conversation used is named to Anthropic although there is none any more', () => {
    const body = JSON.parse(anthropic?.encode(makeRequest('', { messages: [user('go'), ...toolTurn([])] }), call) ?? '');
    expect(body).toMatchObject({ tools: [{ name: 'f' }], tool_choice: { type: 'none' } });
  });
});

describe('the format of an answer', () => {
  const sent = (dialect: (typeof wires)[number][1] | undefined, outputSchema: Record<string, unknown>) => {
    const body = JSON.parse(dialect?.encode(makeRequest('x', { outputSchema }), call) ?? '');
    return {
      format: body.output_config?.format ?? body.response_format?.json_schema,
      system: JSON.stringify(body.system ?? body.messages[0]),
    };
  };
  const scores = {
    type: 'object',
    required: ['score', 'tags'],
    properties: {
      score: { type: 'integer', minimum: 1, maximum: 10 },
      tags: { type: 'array', minItems: 2, maxItems: 5, items: { type: 'string', pattern: '^a' } },
      note: { type: 'string', description: 'Free.', maxLength: 280, format: 'email' },
    },
  };

  it('says bounds in words, not in members that servers refuse', () => {
    expect(sent(anthropic, scores).format.schema).toEqual({
      type: 'object',
      required: ['score', 'tags'],
      properties: {
        score: { type: 'integer', description: '(at least 1, at most 10)' },
        tags: {
          type: 'array',
          items: { type: 'string', description: '(as in the regular expression ^a)' },
          description: '(at least 2 items, at most 5 items)',
        },
        note: { type: 'string', description: 'Free. (at most 280 characters, written as email)' },
      },
      additionalProperties: false,
    });
  });

  const shapes = fc.letrec<{ shape: Record<string, unknown> }>((tie) => ({
    shape: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom({ type: 'integer', minimum: 1 }, { type: 'string', format: 'uri', pattern: 'x' }, { enum: ['a'] }, { $ref: '#' }),
      fc.record({
        type: fc.constant('object'),
        properties: fc.dictionary(fc.constantFrom('a', 'minimum', 'oneOf', '$ref'), tie('shape'), { maxKeys: 3 }),
        additionalProperties: fc.constantFrom(true, false, undefined),
      }),
      tie('shape').map((items) => ({ type: 'array', items, minItems: 3 })),
      fc
        .array(tie('shape'), { minLength: 1, maxLength: 3 })
        .chain((list) => fc.constantFrom({ oneOf: list }, { anyOf: list }, { allOf: list })),
    ),
  })).shape;

  it.each(wires)('is one that %s takes, whatever the schema', (_wire, dialect, strict) => {
    fc.assert(
      fc.property(shapes, (outputSchema) => {
        expect(strict(dialect.encode(makeRequest('x', { outputSchema }), call))).toEqual([]);
      }),
    );
  });

  it('is asked for in the instructions where the wire cannot say it', () => {
    const free = { type: 'object', properties: { by: { type: 'object', additionalProperties: { type: 'number' } } } };
    const inItself = { type: 'object', properties: { next: { $ref: '#' } } };
    for (const schema of [free, inItself]) {
      const { format, system } = sent(anthropic, schema);
      expect(format).toBeUndefined();
      expect(system).toContain(JSON.stringify(JSON.stringify(schema)).slice(1, -1));
    }
    expect(sent(openai, free).format.schema).toEqual(free);
  });
});
