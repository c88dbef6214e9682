import type { FinishReason, Message, Usage } from '@nexus-agent/protocol';
import type { ModelRequest } from '#llm/contract';
import { createAssembler, type ToolCallDraft } from '../assembler.ts';
import { asCount, asRecord, asString, type Unread } from '../json.ts';
import { providerError } from '../provider-error.ts';
import { isStrictSchema } from '../schema.ts';
import { malformed, parseEvent, type StreamContext, type StreamDecoder, streamCut, toolInput, type UpstreamDialect } from '../upstream.ts';
import {
  chatPath,
  endMark,
  type OpenAiChoice,
  type OpenAiChunk,
  type OpenAiDelta,
  type OpenAiMessage,
  type OpenAiPart,
  type OpenAiRequest,
  type OpenAiTool,
  type OpenAiToolCall,
  type OpenAiToolCallDelta,
  type OpenAiUsage,
} from './wire.ts';

export interface OpenAiChatOptions {
  /** OpenAI's own models take `max_completion_tokens`; most compatible servers know only `max_tokens`. */
  readonly maxTokensField: 'max_tokens' | 'max_completion_tokens';
  /** Members added to every request body, for what a server understands beyond the common format. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
}

/** OpenAI Chat Completions, as OpenAI and the servers compatible with it stream it. */
export function createOpenAiChat(options: OpenAiChatOptions): UpstreamDialect {
  return {
    path: chatPath,
    encode(request, { model, maxOutputTokens }) {
      const body: OpenAiRequest = {
        model,
        messages: encodeMessages(request),
        ...(request.tools.length === 0 ? {} : { tools: request.tools.map(encodeTool) }),
        [options.maxTokensField]: maxOutputTokens,
        ...(request.temperature === undefined ? {} : { temperature: request.temperature }),
        ...(request.outputSchema === undefined ? {} : { response_format: responseFormat(request.outputSchema) }),
        stream: true,
        stream_options: { include_usage: true },
      };
      return JSON.stringify({ ...options.extraBody, ...body });
    },
    decoder: createDecoder,
  };
}

function encodeTool(tool: ModelRequest['tools'][number]): OpenAiTool {
  return { type: 'function', function: { name: tool.name, description: tool.description, parameters: tool.inputSchema } };
}

function responseFormat(schema: Record<string, unknown>): NonNullable<OpenAiRequest['response_format']> {
  return { type: 'json_schema', json_schema: { name: 'output', schema, ...(isStrictSchema(schema) ? { strict: true } : {}) } };
}

function encodeMessages(request: ModelRequest): OpenAiMessage[] {
  const messages: OpenAiMessage[] = request.system === '' ? [] : [{ role: 'system', content: request.system }];
  for (const message of request.messages) encodeMessage(message, messages);
  return messages;
}

function encodeMessage(message: Message, out: OpenAiMessage[]): void {
  switch (message.role) {
    case 'user':
      out.push({ role: 'user', content: encodeUser(message.content) });
      return;
    case 'assistant': {
      let text = '';
      const calls: OpenAiToolCall[] = [];
      for (const part of message.content) {
        if (part.type === 'text') text += part.text;
        else if (part.type === 'tool_call') {
          const call = { name: part.name, arguments: JSON.stringify(toolInput(part)) };
          calls.push({ id: part.providerCallId, type: 'function', function: call });
        }
      }
      out.push({
        role: 'assistant',
        content: text === '' && calls.length > 0 ? null : text,
        ...(calls.length === 0 ? {} : { tool_calls: calls }),
      });
      return;
    }
    case 'tool':
      for (const part of message.content) {
        // The format has no error flag, so the text must say it.
        const content = part.isError && !/^error\b/i.test(part.output) ? `Error: ${part.output}` : part.output;
        out.push({ role: 'tool', tool_call_id: part.providerCallId, content });
      }
      return;
    default:
      message satisfies never;
  }
}

function encodeUser(content: Extract<Message, { role: 'user' }>['content']): string | OpenAiPart[] {
  if (content.every((part) => part.type === 'text')) return content.map((part) => part.text).join('\n');
  return content.map((part): OpenAiPart => {
    if (part.type === 'text') return { type: 'text', text: part.text };
    const url = 'url' in part.data ? part.data.url : `data:${part.mediaType};base64,${part.data.base64}`;
    return { type: 'image_url', image_url: { url } };
  });
}

const finishReasons: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  eos: 'stop',
  end_turn: 'stop',
  stop_sequence: 'stop',
  length: 'length',
  max_tokens: 'length',
  tool_calls: 'tool_calls',
  function_call: 'tool_calls',
  content_filter: 'content_filter',
};

/** The answer is complete when a finish reason was seen and the stream then ended properly: by its end mark, or without a fault. */
function createDecoder(context: StreamContext): StreamDecoder {
  const assembler = createAssembler(context.onDelta);
  const calls = new Map<number, ToolCallDraft>();
  let lastCall: ToolCallDraft | null = null;
  let finish = '';
  let done = false;
  let usage: Usage | null = null;
  let responseId = '';

  function toolFragment(fragment: Unread<OpenAiToolCallDelta>): void {
    const index = asCount(fragment.index);
    const id = asString(fragment.id);
    const call = asRecord<OpenAiToolCallDelta['function']>(fragment.function) ?? {};
    const name = asString(call.name);
    const known = index === undefined ? (id === '' ? lastCall : null) : (calls.get(index) ?? null);
    // Some servers give every call index 0, or none: an id that was not seen under it opens another call.
    let draft = known !== null && (id === '' || id === known.id) ? known : null;
    if (draft === null) {
      const made = id === '' ? `call_${responseId.slice(0, 40)}_${calls.size}` : id;
      draft = assembler.toolCall(made, name);
      calls.set(index ?? calls.size, draft);
    } else if (draft.name === '') {
      draft.name = name;
    }
    const piece = call.arguments;
    draft.arguments += typeof piece === 'string' ? piece : piece === undefined || piece === null ? '' : JSON.stringify(piece);
    lastCall = draft;
  }

  return {
    event(_name, data) {
      if (done) return;
      if (data === endMark) {
        done = true;
        return;
      }
      const chunk = parseEvent<OpenAiChunk>(context, data);
      if (chunk.error !== undefined && chunk.error !== null) {
        throw providerError({ provider: context.provider, model: context.model, body: chunk });
      }
      if (chunk.usage !== undefined && chunk.usage !== null) usage = readUsage(chunk.usage) ?? usage;
      if (responseId === '') responseId = asString(chunk.id);
      const choices = chunk.choices;
      if (choices === undefined || choices === null) return;
      if (!Array.isArray(choices)) throw malformed(context, 'a chunk whose choices are not a list');
      const choice = asRecord<OpenAiChoice>(choices[0]);
      if (choice === null) return;
      const delta = asRecord<OpenAiDelta>(choice.delta);
      if (delta !== null) {
        const reasoning = delta.reasoning_content ?? delta.reasoning;
        if (typeof reasoning === 'string') assembler.reasoning(reasoning);
        if (typeof delta.content === 'string') assembler.text(delta.content);
        if (typeof delta.refusal === 'string') assembler.text(delta.refusal);
        const fragments = delta.tool_calls;
        if (Array.isArray(fragments)) {
          for (const item of fragments) {
            const fragment = asRecord<OpenAiToolCallDelta>(item);
            if (fragment === null) throw malformed(context, 'a tool call that is not an object');
            toolFragment(fragment);
          }
        }
      }
      if (typeof choice.finish_reason === 'string') finish = choice.finish_reason;
    },
    get finished() {
      return done;
    },
    answer() {
      if (finish === '') throw streamCut(context);
      const reason = finishReasons[finish];
      if (reason === undefined) throw streamCut(context, `with the reason "${finish.slice(0, 40)}"`);
      const calling = assembler.hasToolCalls();
      const finishReason = reason === 'stop' && calling ? 'tool_calls' : reason === 'tool_calls' && !calling ? 'stop' : reason;
      return { content: assembler.content(reason === 'length'), finishReason };
    },
    usage: () => usage,
    streamedTokens: () => assembler.streamedTokens(),
  };
}

function readUsage(value: unknown): Usage | null {
  const usage = asRecord<OpenAiUsage>(value);
  if (usage === null) return null;
  const prompt = asCount(usage.prompt_tokens ?? 0);
  const completion = asCount(usage.completion_tokens ?? 0);
  // Half an account would bill too little; without one the call is billed by what was counted here.
  if (prompt === undefined || completion === undefined) return null;
  if (prompt + completion === 0) return null;
  const inputDetails = asRecord<NonNullable<OpenAiUsage['prompt_tokens_details']>>(usage.prompt_tokens_details) ?? {};
  const outputDetails = asRecord<NonNullable<OpenAiUsage['completion_tokens_details']>>(usage.completion_tokens_details) ?? {};
  const reasoning = asCount(outputDetails.reasoning_tokens) ?? 0;
  // Some servers leave reasoning out of completion_tokens; their total then shows it.
  const total = asCount(usage.total_tokens) ?? 0;
  const outputTokens = Math.max(completion, Math.min(total - prompt, completion + reasoning));
  const cacheReadTokens = Math.min(prompt, asCount(inputDetails.cached_tokens) ?? asCount(usage.prompt_cache_hit_tokens) ?? 0);
  const cacheWriteTokens = Math.min(prompt - cacheReadTokens, asCount(inputDetails.cache_write_tokens) ?? 0);
  return {
    inputTokens: prompt,
    outputTokens,
    cacheReadTokens,
    cacheWriteTokens,
    reasoningTokens: Math.min(reasoning, outputTokens),
  };
}
