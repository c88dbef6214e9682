import { asCount, asRecord, asString } from '../codecs/codec.ts';
import type { SimAnswer, SimCall, SimRequest, SimResult, SimTurn } from './conversation.ts';
import type { RenderContext, Rendered } from './render.ts';
import { countTokens, tokenPieces } from './text.ts';

/** Reads an OpenAI Chat Completions body; throws an Error with the reason when it is not one. */
export function readOpenAiRequest(body: Record<string, unknown>): SimRequest {
  const messages = body.messages;
  if (!Array.isArray(messages) || messages.length === 0) throw new Error('messages must be a list that is not empty');
  let system = '';
  const turns: SimTurn[] = [];
  for (const item of messages) {
    const message = asRecord(item);
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
    const definition = asRecord(asRecord(tool)?.function);
    if (definition === null || typeof definition.name !== 'string') throw new Error('a tool needs function.name');
    return { name: definition.name, schema: asRecord(definition.parameters) ?? {} };
  });
  const format = asRecord(asRecord(body.response_format)?.json_schema);
  const counted = [system, JSON.stringify(body.tools ?? ''), JSON.stringify(format ?? ''), ...turns.map(turnText)];
  return {
    model: asString(body.model),
    system,
    turns,
    tools,
    outputSchema: asRecord(format?.schema),
    maxTokens: asCount(body.max_completion_tokens) ?? asCount(body.max_tokens) ?? 4_096,
    stream: body.stream === true,
    includeUsage: asRecord(body.stream_options)?.include_usage === true,
    inputTokens: counted.reduce((sum, text) => sum + countTokens(text), 0),
  };
}

/** The text of a turn that is counted as input. */
export function turnText(turn: SimTurn): string {
  switch (turn.role) {
    case 'user':
      return turn.text;
    case 'assistant':
      return [turn.text, ...turn.calls.map((call) => `${call.name} ${JSON.stringify(call.input)}`)].join('');
    case 'tool':
      return turn.results.map((result) => result.output).join(' ');
    default:
      return turn satisfies never;
  }
}

function readContent(content: unknown): { text: string; images: number } {
  if (!Array.isArray(content)) return { text: asString(content), images: 0 };
  const parts = content.map(asRecord);
  return {
    text: parts.map((part) => asString(part?.text)).join('\n'),
    images: parts.filter((part) => part?.type === 'image_url').length,
  };
}

function readCalls(value: unknown): SimCall[] {
  return (Array.isArray(value) ? value : []).map((item) => {
    const call = asRecord(item);
    const definition = asRecord(call?.function);
    let input: unknown = {};
    try {
      input = JSON.parse(asString(definition?.arguments));
    } catch {
      throw new Error('tool call arguments in the history must be JSON');
    }
    return { id: asString(call?.id), name: asString(definition?.name), input: asRecord(input) ?? {} };
  });
}

function addResult(turns: SimTurn[], result: SimResult): void {
  const last = turns.at(-1);
  if (last?.role === 'tool') turns[turns.length - 1] = { role: 'tool', results: [...last.results, result] };
  else turns.push({ role: 'tool', results: [result] });
}

/** The answer as chunks of a stream and as one body. */
export function renderOpenAi(answer: SimAnswer, context: RenderContext): Rendered {
  const base = { id: `chatcmpl-${context.id}`, created: context.created, model: context.model, system_fingerprint: 'nexus-simulator' };
  const head = JSON.stringify({ ...base, object: 'chat.completion.chunk' }).slice(0, -1);
  const frame = (delta: unknown, finish: string | null = null) =>
    `data: ${head},"choices":[{"index":0,"delta":${JSON.stringify(delta)},"finish_reason":${JSON.stringify(finish)}}]}\n\n`;
  const usage = {
    prompt_tokens: context.inputTokens,
    completion_tokens: context.outputTokens,
    total_tokens: context.inputTokens + context.outputTokens,
    prompt_tokens_details: { cached_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: context.reasoningTokens },
  };
  const calls = answer.calls.map((call, index) => ({
    index,
    id: `call_${context.id}_${index}`,
    type: 'function',
    function: { name: call.name, arguments: call.arguments },
  }));
  const chunks = [
    ...tokenPieces(answer.thinking).map((piece) => frame({ reasoning_content: piece })),
    ...tokenPieces(answer.text).map((piece) => frame({ content: piece })),
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
    close: `${frame({}, answer.finish)}${usageFrame}data: [DONE]\n\n`,
    error: `data: ${JSON.stringify({ error: { message: 'the simulator failed as it was told to', type: 'server_error', code: null } })}\n\n`,
    body: {
      ...base,
      object: 'chat.completion',
      choices: [{ index: 0, message, finish_reason: answer.finish }],
      ...(context.reportUsage ? { usage } : {}),
    },
  };
}

/** Tool arguments come in pieces that are cut anywhere, as providers do. */
export function argumentPieces(text: string): string[] {
  return text.match(/[\s\S]{1,24}/gu) ?? [];
}

export function openAiError(status: number, message: string): unknown {
  const type =
    status === 429 ? 'rate_limit_error' : status === 401 ? 'authentication_error' : status < 500 ? 'invalid_request_error' : 'server_error';
  return { error: { message, type, param: null, code: null } };
}
