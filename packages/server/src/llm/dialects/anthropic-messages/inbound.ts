import { dictionary } from '@nexus-agent/protocol';
import {
  argumentPieces,
  type InboundAnswer,
  type InboundCall,
  type InboundDialect,
  type InboundRequest,
  type InboundResult,
  type InboundTurn,
  type RenderContext,
  type Rendered,
  turnText,
} from '../inbound.ts';
import { asCount, asRecord, asString, type Unread } from '../json.ts';
import {
  type AnthropicBlock,
  type AnthropicDelta,
  type AnthropicEvent,
  type AnthropicMessage,
  type AnthropicRequest,
  type AnthropicStop,
  type AnthropicTool,
  type AnthropicUsage,
  messagesPath,
} from './wire.ts';

/** Anthropic Messages, as it is spoken to us. */
export const anthropicMessagesInbound: InboundDialect = { path: messagesPath, read: readRequest, render, error: errorBody, errorEvent };

type OutputConfig = NonNullable<AnthropicRequest['output_config']>;

function readRequest(body: Unread<AnthropicRequest>): InboundRequest {
  const messages = body.messages;
  if (!Array.isArray(messages) || messages.length === 0) throw new Error('messages: at least one message is required');
  const maxTokens = asCount(body.max_tokens);
  if (maxTokens === undefined || maxTokens < 1) throw new Error('max_tokens: field required');
  const system = blocks(body.system)
    .map((block) => asString(block.text))
    .join('\n');
  const turns = messages.flatMap((item) => readMessage(asRecord<AnthropicMessage>(item)));
  checkPairs(turns);
  const tools = (Array.isArray(body.tools) ? body.tools : []).map((item) => {
    const tool = asRecord<AnthropicTool>(item);
    if (typeof tool?.name !== 'string') throw new Error('tools: name is required');
    return { name: tool.name, schema: asRecord(tool.input_schema) ?? {} };
  });
  const format = asRecord<OutputConfig['format']>(asRecord<OutputConfig>(body.output_config)?.format);
  return {
    model: asString(body.model),
    system,
    turns,
    tools,
    outputSchema: asRecord(format?.schema),
    maxTokens,
    stream: body.stream === true,
    includeUsage: true,
    inputTexts: [system, JSON.stringify(body.tools ?? ''), JSON.stringify(format ?? ''), ...turns.map(turnText)],
  };
}

function blocks(content: unknown): Unread<AnthropicBlock>[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return (Array.isArray(content) ? content : []).map((item) => {
    const block = asRecord<AnthropicBlock>(item);
    if (block === null) throw new Error('a content block must be an object');
    return block;
  });
}

function readMessage(message: Unread<AnthropicMessage> | null): InboundTurn[] {
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

function readCall(part: Unread<AnthropicBlock>): InboundCall[] {
  if (part.type !== 'tool_use') return [];
  const input = asRecord(part.input);
  if (input === null) throw new Error('tool_use: input must be an object');
  return [{ id: asString(part.id), name: asString(part.name), input }];
}

function readResult(part: Unread<AnthropicBlock>): InboundResult[] {
  if (part.type !== 'tool_result') return [];
  const output = blocks(part.content)
    .map((block) => asString(block.text))
    .join('\n');
  return [{ id: asString(part.tool_use_id), output, isError: part.is_error === true }];
}

/** Anthropic insists that the results of all calls follow them at once. */
function checkPairs(turns: readonly InboundTurn[]): void {
  for (const [index, turn] of turns.entries()) {
    if (turn.role !== 'assistant' || turn.calls.length === 0) continue;
    const next = turns[index + 1];
    const ids = new Set(next?.role === 'tool' ? next.results.map((result) => result.id) : []);
    const missing = turn.calls.find((call) => !ids.has(call.id));
    if (missing !== undefined) throw new Error(`messages: tool_use ids were found without tool_result blocks: ${missing.id}`);
  }
}

const stopReasons = dictionary({ stop: 'end_turn', tool_calls: 'tool_use', length: 'max_tokens', content_filter: 'refusal' } as const);

function frame(event: AnthropicEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

function render(answer: InboundAnswer, context: RenderContext): Rendered {
  const usage: AnthropicUsage = {
    input_tokens: context.inputTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: context.outputTokens,
  };
  const message = { id: `msg_${context.id}`, type: 'message', role: 'assistant', model: context.model };
  const content = contentOf(answer, context);
  const stop: AnthropicStop = { stop_reason: stopReasons[answer.finish], stop_sequence: null };
  const startUsage = context.reportUsage ? { ...usage, output_tokens: 1 } : {};
  return {
    open:
      frame({ type: 'message_start', message: { ...message, content: [], stop_reason: null, stop_sequence: null, usage: startUsage } }) +
      frame({ type: 'ping' }),
    chunks: content.flatMap(({ start, deltas }, index) => renderBlock(index, start, deltas)),
    close:
      frame({ type: 'message_delta', delta: stop, usage: context.reportUsage ? { output_tokens: context.outputTokens } : {} }) +
      frame({ type: 'message_stop' }),
    body: { ...message, content: content.map(({ whole }) => whole), ...stop, ...(context.reportUsage ? { usage } : {}) },
  };
}

/** A block of content: in one piece, and as a stream begins and goes on with it. */
interface RenderedBlock {
  readonly whole: AnthropicBlock;
  readonly start: AnthropicBlock;
  readonly deltas: readonly AnthropicDelta[];
}

function contentOf(answer: InboundAnswer, { id, signature, pieces }: RenderContext): RenderedBlock[] {
  const content: RenderedBlock[] = [];
  if (answer.thinking !== '') {
    const deltas = pieces(answer.thinking).map((thinking): AnthropicDelta => ({ type: 'thinking_delta', thinking }));
    content.push({
      whole: { type: 'thinking', thinking: answer.thinking, signature },
      start: { type: 'thinking', thinking: '', signature: '' },
      deltas: [...deltas, { type: 'signature_delta', signature }],
    });
  }
  if (answer.text !== '') {
    content.push({
      whole: { type: 'text', text: answer.text },
      start: { type: 'text', text: '' },
      deltas: pieces(answer.text).map((text) => ({ type: 'text_delta', text })),
    });
  }
  for (const [at, call] of answer.calls.entries()) {
    const start = { type: 'tool_use' as const, id: `toolu_${id}_${at}`, name: call.name, input: {} };
    content.push({
      whole: { ...start, input: parseArguments(call.arguments) },
      start,
      deltas: argumentPieces(call.arguments).map((piece) => ({ type: 'input_json_delta', partial_json: piece })),
    });
  }
  return content;
}

/** The frames around the deltas ride along, so that each chunk is one delta. */
function renderBlock(index: number, start: AnthropicBlock, deltas: readonly AnthropicDelta[]): string[] {
  const opening = frame({ type: 'content_block_start', index, content_block: start });
  const frames = deltas.map((delta) => frame({ type: 'content_block_delta', index, delta }));
  const closing = frame({ type: 'content_block_stop', index });
  if (frames.length === 0) return [opening + closing];
  return frames.map((piece, at) => (at === 0 ? opening : '') + piece + (at === frames.length - 1 ? closing : ''));
}

function parseArguments(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function errorBody(status: number, message: string): unknown {
  const types: Readonly<Record<number, string>> = dictionary({
    400: 'invalid_request_error',
    401: 'authentication_error',
    404: 'not_found_error',
    429: 'rate_limit_error',
    529: 'overloaded_error',
  });
  return { type: 'error', error: { type: types[status] ?? 'api_error', message } };
}

function errorEvent(message: string): string {
  return frame({ type: 'error', error: { type: 'overloaded_error', message } });
}
