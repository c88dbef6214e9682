import { createSseDecoder, type Usage } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Answer } from '#llm/contract';
import { makeRequest } from '#llm/testing';
import { createAnthropicMessages } from './anthropic-messages/upstream.ts';
import { createOpenAiChat } from './openai-chat/upstream.ts';
import type { UpstreamDialect } from './upstream.ts';

const openai = createOpenAiChat({ maxTokensField: 'max_completion_tokens' });
const anthropic = createAnthropicMessages({ promptCaching: false });

interface Decoded {
  readonly deltas: string;
  readonly answer: Answer | null;
  readonly usage: Usage | null;
  readonly error: unknown;
}

function decode(dialect: UpstreamDialect, chunks: readonly Buffer[]): Decoded {
  const deltas: Record<string, string> = { text: '', reasoning: '' };
  const decoder = dialect.decoder({
    provider: 'p',
    model: 'm',
    onDelta: (kind, text) => {
      deltas[kind] += text;
    },
    onCallText: () => undefined,
  });
  const sse = createSseDecoder({ maxEventChars: 4_000_000, onEvent: decoder.event });
  let answer: Answer | null = null;
  let error: unknown = null;
  try {
    for (const chunk of chunks) sse.push(chunk);
    answer = decoder.answer();
  } catch (thrown) {
    error = thrown;
  }
  return { deltas: JSON.stringify(deltas), answer, usage: decoder.usage(), error };
}

const sse = (...events: readonly unknown[]) =>
  Buffer.from(events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join(''));
const delta = (value: unknown, finish: string | null = null) => ({
  id: 'r1',
  choices: [{ index: 0, delta: value, finish_reason: finish }],
});
const call = (index: number | undefined, id: string | undefined, name: string | undefined, text: string) =>
  delta({ tool_calls: [{ index, id, function: { name, arguments: text } }] });
const openaiUsage = {
  prompt_tokens: 100,
  completion_tokens: 30,
  total_tokens: 130,
  prompt_tokens_details: { cached_tokens: 40, cache_write_tokens: 10 },
  completion_tokens_details: { reasoning_tokens: 12 },
};

const openaiStream = sse(
  delta({ role: 'assistant', content: '' }),
  delta({ reasoning_content: 'let me ' }),
  delta({ reasoning: 'see' }),
  delta({ content: 'Naïve 😀 ' }),
  delta({ content: 'text' }),
  call(0, 'c0', 'fs_read', ''),
  call(0, undefined, undefined, '{"path":'),
  call(1, 'c1', 'fs_list', '{}'),
  call(0, undefined, undefined, '"ä.txt"}'),
  delta({}, 'tool_calls'),
  { id: 'r1', choices: [], usage: openaiUsage },
  '[DONE]',
);

const block = (index: number, content_block: unknown) => ({ type: 'content_block_start', index, content_block });
const piece = (index: number, value: unknown) => ({ type: 'content_block_delta', index, delta: value });
const close = (index: number) => ({ type: 'content_block_stop', index });
const anthropicStream = sse(
  {
    type: 'message_start',
    message: { usage: { input_tokens: 50, cache_read_input_tokens: 40, cache_creation_input_tokens: 10, output_tokens: 1 } },
  },
  { type: 'ping' },
  block(0, { type: 'thinking', thinking: '', signature: '' }),
  piece(0, { type: 'thinking_delta', thinking: 'let me ' }),
  piece(0, { type: 'thinking_delta', thinking: 'see' }),
  piece(0, { type: 'signature_delta', signature: 'sig==' }),
  close(0),
  block(1, { type: 'redacted_thinking', data: 'opaque' }),
  close(1),
  block(2, { type: 'text', text: '' }),
  piece(2, { type: 'text_delta', text: 'Naïve 😀 ' }),
  piece(2, { type: 'text_delta', text: 'text' }),
  close(2),
  block(3, { type: 'tool_use', id: 'c0', name: 'fs_read', input: {} }),
  piece(3, { type: 'input_json_delta', partial_json: '{"path":' }),
  piece(3, { type: 'input_json_delta', partial_json: '"ä.txt"}' }),
  close(3),
  block(4, { type: 'tool_use', id: 'c1', name: 'fs_list', input: {} }),
  close(4),
  { type: 'some_future_event' },
  {
    type: 'message_delta',
    delta: { stop_reason: 'tool_use' },
    usage: { output_tokens: 30, output_tokens_details: { thinking_tokens: 12 } },
  },
  { type: 'message_stop' },
);

const toolCalls = [
  { type: 'tool_call', providerCallId: 'c0', name: 'fs_read', input: { path: 'ä.txt' } },
  { type: 'tool_call', providerCallId: 'c1', name: 'fs_list', input: {} },
];
const usage = { inputTokens: 100, outputTokens: 30, cacheReadTokens: 40, cacheWriteTokens: 10, reasoningTokens: 12 };

describe.each([
  ['OpenAI Chat Completions', openai, openaiStream],
  ['Anthropic Messages', anthropic, anthropicStream],
])('decoding %s', (_name, dialect, stream) => {
  it('gives the same answer, deltas and usage however the bytes are cut [verifies provider.codec.chunks]', () => {
    const whole = decode(dialect, [stream]);
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 40 }), (cuts) => {
        const at = [...new Set([0, ...cuts, stream.length])].sort((a, b) => a - b);
        expect(
          decode(
            dialect,
            at.slice(1).map((end, index) => stream.subarray(at[index], end)),
          ),
        ).toEqual(whole);
      }),
      { numRuns: 150 },
    );
    expect(
      decode(
        dialect,
        Array.from(stream, (byte) => Buffer.from([byte])),
      ),
    ).toEqual(whole);
    expect(whole.deltas).toBe(JSON.stringify({ text: 'Naïve 😀 text', reasoning: 'let me see' }));
  });

  it('never takes a part of the stream for an answer [verifies provider.cut.error]', () => {
    const blankLines = [...stream.toString('latin1').matchAll(/\n\n/g)].map((match) => match.index + 2);
    for (const end of blankLines.slice(0, -1)) {
      const { answer, error } = decode(dialect, [stream.subarray(0, end)]);
      // OpenAI's finish reason says that the content is whole; what follows it are usage and the end mark.
      const whole = dialect === openai && stream.subarray(0, end).includes('"finish_reason":"tool_calls"');
      if (whole) expect(answer?.finishReason).toBe('tool_calls');
      else expect(error).toMatchObject({ code: 'provider_stream_cut' });
    }
  });

  it('counts cache reads and writes into the input, and reasoning into the output [verifies provider.usage]', () => {
    expect(decode(dialect, [stream]).usage).toEqual(usage);
  });

  it('refuses an event that is not JSON, or not an object [verifies provider.malformed]', () => {
    expect(decode(dialect, [sse('{"a":')]).error).toMatchObject({ code: 'provider_malformed' });
    expect(decode(dialect, [sse('[1]')]).error).toMatchObject({ code: 'provider_malformed' });
  });
});

describe('OpenAI Chat Completions', () => {
  it('keeps reasoning, text and parallel calls in order of arrival', () => {
    expect(decode(openai, [openaiStream]).answer).toEqual({
      content: [{ type: 'reasoning', text: 'let me see' }, { type: 'text', text: 'Naïve 😀 text' }, ...toolCalls],
      finishReason: 'tool_calls',
    });
  });

  it.each([
    ['no index', [call(undefined, 'a', 'x', '{}'), call(undefined, 'b', 'y', '{"k":'), call(undefined, undefined, undefined, '1}')]],
    ['index 0 for all', [call(0, 'a', 'x', '{}'), call(0, 'b', 'y', '{"k":'), call(0, undefined, undefined, '1}')]],
    ['the id in every fragment', [call(0, 'a', 'x', '{}'), call(1, 'b', 'y', '{"k":'), call(1, 'b', 'y', '1}')]],
  ])('tells calls apart when a server sends %s', (_what, chunks) => {
    const { answer } = decode(openai, [sse(...chunks, delta({}, 'stop'), '[DONE]')]);
    expect(answer?.finishReason).toBe('tool_calls');
    expect(answer?.content).toMatchObject([
      { providerCallId: 'a', name: 'x', input: {} },
      { providerCallId: 'b', name: 'y', input: { k: 1 } },
    ]);
  });

  it('names calls that come without an id apart', () => {
    const { answer } = decode(openai, [
      sse(call(0, undefined, 'x', '{}'), call(1, undefined, 'y', '{}'), delta({}, 'tool_calls'), '[DONE]'),
    ]);
    expect(answer?.content.map((part) => part.type === 'tool_call' && part.providerCallId)).toEqual(['call_r1_0', 'call_r1_1']);
  });

  it('keeps arguments that are not JSON as they came', () => {
    const { answer } = decode(openai, [sse(call(0, 'a', 'x', '{"k": oops'), delta({}, 'tool_calls'), '[DONE]')]);
    expect(answer?.content).toEqual([{ type: 'tool_call', providerCallId: 'a', name: 'x', input: null, invalidInput: '{"k": oops' }]);
  });

  it('takes a proper end after the finish reason for the end mark, but no unknown reason for an end', () => {
    expect(decode(openai, [sse(delta({ content: 'a' }), delta({}, 'stop'))]).answer?.finishReason).toBe('stop');
    expect(decode(openai, [sse(delta({ content: 'a' }), delta({}, 'abort'), '[DONE]')]).error).toMatchObject({
      code: 'provider_stream_cut',
    });
    expect(decode(openai, [sse(delta({ content: 'a' }))]).error).toMatchObject({ code: 'provider_stream_cut' });
  });

  it('adds reasoning that a server left out of its completion tokens, and takes zeros for no usage', () => {
    const reported = (value: unknown) => decode(openai, [sse({ choices: [], usage: value }, delta({}, 'stop'))]).usage;
    expect(
      reported({ prompt_tokens: 10, completion_tokens: 5, total_tokens: 35, completion_tokens_details: { reasoning_tokens: 20 } }),
    ).toMatchObject({
      outputTokens: 25,
      reasoningTokens: 20,
    });
    expect(reported({ prompt_tokens: 0, completion_tokens: 0 })).toBeNull();
    expect(reported({ prompt_tokens: -3, completion_tokens: 'x' })).toBeNull();
  });

  it('writes a conversation in the wire format', () => {
    const request = makeRequest('', {
      system: 'Be brief.',
      temperature: 0.2,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'look' },
            { type: 'image', mediaType: 'image/png', data: { base64: 'AAAA' } },
            { type: 'image', mediaType: 'image/png', data: { url: 'https://example.com/a.png' } },
          ],
        },
        {
          role: 'assistant',
          content: [
            { type: 'reasoning', text: 'hm' },
            { type: 'tool_call', providerCallId: 'c0', name: 'f', input: { a: 1 } },
            { type: 'tool_call', providerCallId: 'c1', name: 'f', input: null, invalidInput: '{oops' },
          ],
        },
        {
          role: 'tool',
          content: [
            { type: 'tool_result', providerCallId: 'c0', name: 'f', output: 'fine', isError: false },
            { type: 'tool_result', providerCallId: 'c1', name: 'f', output: 'bad input', isError: true },
          ],
        },
      ],
      tools: [{ name: 'f', description: 'does f', inputSchema: { type: 'object' } }],
      outputSchema: { type: 'object', properties: { a: { type: 'string' } }, required: ['a'], additionalProperties: false },
    });
    expect(JSON.parse(openai.encode(request, { model: 'm', maxOutputTokens: 99 }))).toEqual({
      model: 'm',
      messages: [
        { role: 'system', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'look' },
            { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
            { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
          ],
        },
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'c00000001', type: 'function', function: { name: 'f', arguments: '{"a":1}' } },
            { id: 'c00000002', type: 'function', function: { name: 'f', arguments: '{"invalid_json":"{oops"}' } },
          ],
        },
        { role: 'tool', tool_call_id: 'c00000001', content: 'fine' },
        { role: 'tool', tool_call_id: 'c00000002', content: 'Error: bad input' },
      ],
      tools: [{ type: 'function', function: { name: 'f', description: 'does f', parameters: { type: 'object', properties: {} } } }],
      max_completion_tokens: 99,
      temperature: 0.2,
      response_format: { type: 'json_schema', json_schema: { name: 'output', schema: request.outputSchema, strict: true } },
      stream: true,
      stream_options: { include_usage: true },
    });
    const compatible = createOpenAiChat({ maxTokensField: 'max_tokens', extraBody: { top_k: 5 } });
    const loose = makeRequest('x', { outputSchema: { type: 'object', properties: { a: {} } } });
    const body = JSON.parse(compatible.encode(loose, { model: 'm', maxOutputTokens: 9 }));
    expect(body).toMatchObject({ max_tokens: 9, top_k: 5 });
    expect(body.response_format.json_schema).not.toHaveProperty('strict');
  });
});

describe('Anthropic Messages', () => {
  it('keeps thinking with its proof, text and calls in order', () => {
    expect(decode(anthropic, [anthropicStream]).answer).toEqual({
      content: [
        { type: 'reasoning', text: 'let me see', signature: 'sig==' },
        { type: 'reasoning', text: '', signature: 'redacted_thinking:opaque' },
        { type: 'text', text: 'Naïve 😀 text' },
        ...toolCalls,
      ],
      finishReason: 'tool_calls',
    });
  });

  it.each([
    ['end_turn', 'stop'],
    ['stop_sequence', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['refusal', 'content_filter'],
  ])('reads the stop reason %s as %s', (reason, finishReason) => {
    const stream = sse({ type: 'message_delta', delta: { stop_reason: reason }, usage: {} }, { type: 'message_stop' });
    expect(decode(anthropic, [stream]).answer?.finishReason).toBe(finishReason);
  });

  it('takes a whole input from the start of a block when no pieces follow', () => {
    const stream = sse(
      block(0, { type: 'tool_use', id: 'a', name: 'f', input: { k: 1 } }),
      close(0),
      { type: 'message_delta', delta: { stop_reason: 'tool_use' } },
      { type: 'message_stop' },
    );
    expect(decode(anthropic, [stream]).answer?.content).toMatchObject([{ input: { k: 1 } }]);
  });

  it('sends thinking back with its proof, leaves out what has none, and joins turns of one role', () => {
    const request = makeRequest('', {
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'go' }] },
        {
          role: 'assistant',
          content: [
            { type: 'reasoning', text: 'mine', signature: 'sig==' },
            { type: 'reasoning', text: '', signature: 'redacted_thinking:opaque' },
            { type: 'reasoning', text: 'of another provider' },
            { type: 'text', text: '' },
            { type: 'tool_call', providerCallId: 'c0', name: 'f', input: { a: 1 } },
          ],
        },
        { role: 'tool', content: [{ type: 'tool_result', providerCallId: 'c0', name: 'f', output: '', isError: true }] },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'and now' },
            { type: 'image', mediaType: 'image/png', data: { base64: 'AA' } },
          ],
        },
        { role: 'assistant', content: [] },
      ],
      tools: [{ name: 'f', description: 'does f', inputSchema: { type: 'object' } }],
      outputSchema: { type: 'object', properties: { a: { type: 'object' } } },
    });
    expect(JSON.parse(anthropic.encode(request, { model: 'm', maxOutputTokens: 99 }))).toEqual({
      model: 'm',
      max_tokens: 99,
      system: [{ type: 'text', text: 'You help.' }],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'go' }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'mine', signature: 'sig==' },
            { type: 'redacted_thinking', data: 'opaque' },
            { type: 'tool_use', id: 'c00000001', name: 'f', input: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'c00000001', content: '(no output)', is_error: true },
            { type: 'text', text: 'and now' },
            { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA' } },
          ],
        },
      ],
      tools: [{ name: 'f', description: 'does f', input_schema: { type: 'object', properties: {} } }],
      output_config: {
        format: {
          type: 'json_schema',
          schema: { type: 'object', properties: { a: { type: 'object', additionalProperties: false } }, additionalProperties: false },
        },
      },
      stream: true,
    });
  });

  it('marks the instructions and the newest message for the prompt cache, and asks for thinking only where it fits', () => {
    const dialect = createAnthropicMessages({ promptCaching: true, thinking: { type: 'enabled', budgetTokens: 2_000 } });
    const small = JSON.parse(dialect.encode(makeRequest('x', { temperature: 1.5 }), { model: 'm', maxOutputTokens: 1_500 }));
    expect(small).toMatchObject({ temperature: 1, system: [{ cache_control: { type: 'ephemeral' } }] });
    expect(small.messages[0].content[0]).toMatchObject({ cache_control: { type: 'ephemeral' } });
    expect(small).not.toHaveProperty('thinking');
    const large = JSON.parse(dialect.encode(makeRequest('x', { temperature: 1 }), { model: 'm', maxOutputTokens: 3_000 }));
    expect(large.thinking).toEqual({ type: 'enabled', budget_tokens: 2_000 });
    expect(large).not.toHaveProperty('temperature');
  });
});
