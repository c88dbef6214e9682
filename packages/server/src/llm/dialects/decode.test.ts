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
