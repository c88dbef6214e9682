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
  chatPath,
  endMark,
  type OpenAiDelta,
  type OpenAiMessage,
  type OpenAiPart,
  type OpenAiRequest,
  type OpenAiTool,
  type OpenAiToolCall,
  type OpenAiUsage,
} from './wire.ts';

/** OpenAI Chat Completions, as it is spoken to us. */
export const openAiChatInbound: InboundDialect = { path: chatPath, read: readRequest, render, error: errorBody, errorEvent };

type Format = NonNullable<OpenAiRequest['response_format']>;

function readRequest(body: Unread<OpenAiRequest>): InboundRequest {
  const messages = body.messages;
  if (!Array.isArray(messages) || messages.length === 0) throw new Error('messages must be a list that is not empty');
  let system = '';
  const turns: InboundTurn[] = [];
  for (const item of messages) {
    const message = asRecord<OpenAiMessage>(item);
    if (message === null) throw new Error('a message must be an object');
    const role = message.role;
    const { text, images } = readContent(message.content);
    if (role === 'system' || role === 'developer') system += `${text}\n`;
    else if (role === 'user') turns.push({ role, text, images });
    else if (role === 'assistant') turns.push({ role, text, calls: readCalls(message.tool_calls) });
    else if (role === 'tool') addResult(turns, { id: asString(message.tool_call_id), output: text, isError: /^error\b/i.test(text) });
    else throw new Error(`unknown role ${String(role)}`);
  }
  const tools = (Array.isArray(body.tools) ? body.tools : []).map((tool) => {
    const definition = asRecord<OpenAiTool['function']>(asRecord<OpenAiTool>(tool)?.function);
    if (definition === null || typeof definition.name !== 'string') throw new Error('a tool needs function.name');
    return { name: definition.name, schema: asRecord(definition.parameters) ?? {} };
  });
  const format = asRecord<Format['json_schema']>(asRecord<Format>(body.response_format)?.json_schema);
  return {
    model: asString(body.model),
    system,
    turns,
    tools,
    outputSchema: asRecord(format?.schema),
    maxTokens: asCount(body.max_completion_tokens) ?? asCount(body.max_tokens) ?? 4_096,
    stream: body.stream === true,
    includeUsage: asRecord<NonNullable<OpenAiRequest['stream_options']>>(body.stream_options)?.include_usage === true,
    inputTexts: [system, JSON.stringify(body.tools ?? ''), JSON.stringify(format ?? ''), ...turns.map(turnText)],
  };
}

function readContent(content: unknown): { text: string; images: number } {
  if (!Array.isArray(content)) return { text: asString(content), images: 0 };
  const parts = content.map((part) => asRecord<OpenAiPart>(part));
  return {
    text: parts.map((part) => asString(part?.text)).join('\n'),
    images: parts.filter((part) => part?.type === 'image_url').length,
  };
}

function readCalls(value: unknown): InboundCall[] {
  return (Array.isArray(value) ? value : []).map((item) => {
    const call = asRecord<OpenAiToolCall>(item);
    const definition = asRecord<OpenAiToolCall['function']>(call?.function);
    let input: unknown = {};
    try {
      input = JSON.parse(asString(definition?.arguments));
    } catch {
      throw new Error('tool call arguments in the history must be JSON');
    }
    return { id: asString(call?.id), name: asString(definition?.name), input: asRecord(input) ?? {} };
  });
}

function addResult(turns: InboundTurn[], result: InboundResult): void {
  const last = turns.at(-1);
  if (last?.role === 'tool') turns[turns.length - 1] = { role: 'tool', results: [...last.results, result] };
  else turns.push({ role: 'tool', results: [result] });
}

function render(answer: InboundAnswer, context: RenderContext): Rendered {
  const base = { id: `chatcmpl-${context.id}`, created: context.created, model: context.model, system_fingerprint: context.servedBy };
  const head = JSON.stringify({ ...base, object: 'chat.completion.chunk' }).slice(0, -1);
  const frame = (delta: OpenAiDelta, finish: string | null = null) =>
    `data: ${head},"choices":[{"index":0,"delta":${JSON.stringify(delta)},"finish_reason":${JSON.stringify(finish)}}]}\n\n`;
  const usage: OpenAiUsage = {
    prompt_tokens: context.inputTokens,
    completion_tokens: context.outputTokens,
    total_tokens: context.inputTokens + context.outputTokens,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: context.reasoningTokens },
  };
  const calls = answer.calls.map((call, index) => ({
    index,
    id: `call_${context.id}_${index}`,
    type: 'function' as const,
    function: { name: call.name, arguments: call.arguments },
  }));
  const chunks = [
    ...context.pieces(answer.thinking).map((piece) => frame({ reasoning_content: piece })),
    ...context.pieces(answer.text).map((piece) => frame({ content: piece })),
    ...calls.flatMap((call) => [
      frame({ tool_calls: [{ ...call, function: { name: call.function.name, arguments: '' } }] }),
      ...argumentPieces(call.function.arguments).map((piece) =>
        frame({ tool_calls: [{ index: call.index, function: { arguments: piece } }] }),
      ),
    ]),
  ];
  const usageFrame = context.reportUsage ? `data: ${head},"choices":[],"usage":${JSON.stringify(usage)}}\n\n` : '';
  const message = {
    role: 'assistant',
    content: answer.text === '' && calls.length > 0 ? null : answer.text,
    ...(answer.thinking === '' ? {} : { reasoning_content: answer.thinking }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
  return {
    open: frame({ role: 'assistant', content: '' }),
    chunks,
    close: `${frame({}, answer.finish)}${usageFrame}data: ${endMark}\n\n`,
    body: {
      ...base,
      object: 'chat.completion',
      choices: [{ index: 0, message, finish_reason: answer.finish }],
      ...(context.reportUsage ? { usage } : {}),
    },
  };
}

function errorBody(status: number, message: string): unknown {
  const type =
    status === 429 ? 'rate_limit_error' : status === 401 ? 'authentication_error' : status < 500 ? 'invalid_request_error' : 'server_error';
  return { error: { message, type, param: null, code: null } };
}

function errorEvent(message: string): string {
  return `data: ${JSON.stringify({ error: { message, type: 'server_error', code: null } })}\n\n`;
}
