import type { Message } from '@nexus-agent/protocol';
import type { ModelRequest } from '#llm/contract';
import { isStrictSchema } from '../schema.ts';
import { toolInput, type UpstreamDialect } from '../upstream.ts';
import { createChatDecoder } from './decode.ts';
import { chatPath, type OpenAiMessage, type OpenAiPart, type OpenAiRequest, type OpenAiTool, type OpenAiToolCall } from './wire.ts';

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
    decoder: createChatDecoder,
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
