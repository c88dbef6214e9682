import { asCount, asRecord, asString } from '../codecs/codec.ts';
import type { SimAnswer, SimCall, SimRequest, SimResult, SimTurn } from './conversation.ts';
import type { RenderContext, Rendered } from './render.ts';
import { countTokens, tokenPieces } from './text.ts';
import { argumentPieces, turnText } from './wire-openai.ts';

/** Reads an Anthropic Messages body; throws an Error with the reason when it is not one. */
export function readAnthropicRequest(body: Record<string, unknown>): SimRequest {
  const messages = body.messages;
  if (!Array.isArray(messages) || messages.length === 0) throw new Error('messages: at least one message is required');
  const maxTokens = asCount(body.max_tokens);
  if (maxTokens === undefined || maxTokens < 1) throw new Error('max_tokens: field required');
  const system = blocks(body.system)
    .map((block) => asString(block.text))
    .join('\n');
  const turns = messages.flatMap((item) => readMessage(asRecord(item)));
  checkPairs(turns);
  const tools = (Array.isArray(body.tools) ? body.tools : []).map((item) => {
    const tool = asRecord(item);
    if (typeof tool?.name !== 'string') throw new Error('tools: name is required');
    return { name: tool.name, schema: asRecord(tool.input_schema) ?? {} };
  });
  const format = asRecord(asRecord(body.output_config)?.format);
  const counted = [system, JSON.stringify(body.tools ?? ''), JSON.stringify(format ?? ''), ...turns.map(turnText)];
  return {
    model: asString(body.model),
    system,
    turns,
    tools,
    outputSchema: asRecord(format?.schema),
    maxTokens,
    stream: body.stream === true,
    includeUsage: true,
    inputTokens: counted.reduce((sum, text) => sum + countTokens(text), 0),
  };
}

function blocks(content: unknown): Record<string, unknown>[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return (Array.isArray(content) ? content : []).map((item) => {
    const block = asRecord(item);
    if (block === null) throw new Error('a content block must be an object');
    return block;
  });
}

function readMessage(message: Record<string, unknown> | null): SimTurn[] {
  if (message === null) throw new Error('a message must be an object');
  const parts = blocks(message.content);
  if (parts.length === 0) throw new Error('messages: content must not be empty');
  const text = parts.map((part) => (part.type === 'text' ? asString(part.text) : '')).join('');
  if (parts.some((part) => part.type === 'text' && part.text === '')) throw new Error('messages: text content blocks must be non-empty');
  if (message.role === 'assistant') return [{ role: 'assistant', text, calls: parts.flatMap(readCall) }];
  if (message.role !== 'user') throw new Error(`messages: unexpected role ${String(message.role)}`);
  const results = parts.flatMap(readResult);
  const images = parts.filter((part) => part.type === 'image').length;
  return [
    ...(results.length === 0 ? [] : [{ role: 'tool', results } as const]),
    ...(text === '' && images === 0 ? [] : [{ role: 'user', text, images } as const]),
  ];
}

function readCall(part: Record<string, unknown>): SimCall[] {
  if (part.type !== 'tool_use') return [];
  const input = asRecord(part.input);
  if (input === null) throw new Error('tool_use: input must be an object');
  return [{ id: asString(part.id), name: asString(part.name), input }];
}

function readResult(part: Record<string, unknown>): SimResult[] {
  if (part.type !== 'tool_result') return [];
  const output = blocks(part.content)
    .map((block) => asString(block.text))
    .join('\n');
  return [{ id: asString(part.tool_use_id), output, isError: part.is_error === true }];
}

/** Anthropic insists that the results of all calls follow them at once. */
function checkPairs(turns: readonly SimTurn[]): void {
  for (const [index, turn] of turns.entries()) {
    if (turn.role !== 'assistant' || turn.calls.length === 0) continue;
    const next = turns[index + 1];
    const ids = new Set(next?.role === 'tool' ? next.results.map((result) => result.id) : []);
    const missing = turn.calls.find((call) => !ids.has(call.id));
    if (missing !== undefined) throw new Error(`messages: tool_use ids were found without tool_result blocks: ${missing.id}`);
  }
}

const stopReasons = { stop: 'end_turn', tool_calls: 'tool_use', length: 'max_tokens', content_filter: 'refusal' } as const;

/** The answer as events of a stream and as one body. */
export function renderAnthropic(answer: SimAnswer, context: RenderContext): Rendered {
  const event = (type: string, data: Record<string, unknown>) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  const usage = {
    input_tokens: context.inputTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: context.outputTokens,
  };
  const message = { id: `msg_${context.id}`, type: 'message', role: 'assistant', model: context.model };
  const signature = `sim-signature-${context.id}`;
  const content = [
    ...(answer.thinking === '' ? [] : [{ type: 'thinking', thinking: answer.thinking, signature }]),
    ...(answer.text === '' ? [] : [{ type: 'text', text: answer.text }]),
    ...answer.calls.map((call, index) => ({
      type: 'tool_use',
      id: `toolu_${context.id}_${index}`,
      name: call.name,
      input: parseArguments(call.arguments),
    })),
  ];
  const chunks: string[] = [];
  const block = (index: number, start: Record<string, unknown>, deltas: readonly Record<string, unknown>[]) => {
    const opening = event('content_block_start', { index, content_block: start });
    const frames = deltas.map((delta) => event('content_block_delta', { index, delta }));
    const closing = event('content_block_stop', { index });
    // The frames around the deltas ride along, so that each chunk is one delta.
    chunks.push(...frames.map((frame, at) => (at === 0 ? opening : '') + frame + (at === frames.length - 1 ? closing : '')));
    if (frames.length === 0) chunks.push(opening + closing);
  };
  let index = 0;
  if (answer.thinking !== '') {
    const deltas = tokenPieces(answer.thinking).map((thinking) => ({ type: 'thinking_delta', thinking }));
    block(index++, { type: 'thinking', thinking: '', signature: '' }, [...deltas, { type: 'signature_delta', signature }]);
  }
  if (answer.text !== '') {
    block(
      index++,
      { type: 'text', text: '' },
      tokenPieces(answer.text).map((text) => ({ type: 'text_delta', text })),
    );
  }
  for (const [at, call] of answer.calls.entries()) {
    const pieces = argumentPieces(call.arguments).map((piece) => ({ type: 'input_json_delta', partial_json: piece }));
    block(index++, { type: 'tool_use', id: `toolu_${context.id}_${at}`, name: call.name, input: {} }, pieces);
  }
  const stop = { stop_reason: stopReasons[answer.finish], stop_sequence: null };
  const startUsage = context.reportUsage ? { ...usage, output_tokens: 1 } : {};
  return {
    open:
      event('message_start', { message: { ...message, content: [], stop_reason: null, stop_sequence: null, usage: startUsage } }) +
      event('ping', {}),
    chunks,
    close:
      event('message_delta', { delta: stop, usage: context.reportUsage ? { output_tokens: context.outputTokens } : {} }) +
      event('message_stop', {}),
    error: event('error', { error: { type: 'overloaded_error', message: 'the simulator failed as it was told to' } }),
    body: { ...message, content, ...stop, ...(context.reportUsage ? { usage } : {}) },
  };
}

function parseArguments(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

export function anthropicError(status: number, message: string): unknown {
  const types: Readonly<Record<number, string>> = {
    400: 'invalid_request_error',
    401: 'authentication_error',
    404: 'not_found_error',
    429: 'rate_limit_error',
    529: 'overloaded_error',
  };
  return { type: 'error', error: { type: types[status] ?? 'api_error', message } };
}
