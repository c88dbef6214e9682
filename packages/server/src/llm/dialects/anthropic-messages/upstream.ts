import type { AssistantPart, Message } from '@nexus-agent/protocol';
import type { ModelRequest } from '#llm/contract';
import { closeSchema } from '../schema.ts';
import { toolInput, type UpstreamDialect } from '../upstream.ts';
import { createMessagesDecoder, redactedMark } from './decode.ts';
import {
  type AnthropicBlock,
  type AnthropicImageSource,
  type AnthropicRequest,
  type AnthropicTool,
  type CacheMark,
  messagesPath,
} from './wire.ts';

export interface AnthropicMessagesOptions {
  /** Marks the end of the instructions and of the conversation for the provider's prompt cache. */
  readonly promptCaching: boolean;
  /** Absent: the model's own default. A budget is left out of calls that could not hold it. */
  readonly thinking?: { readonly type: 'adaptive' } | { readonly type: 'enabled'; readonly budgetTokens: number };
}

const cacheMark: CacheMark = { cache_control: { type: 'ephemeral' } };
const minThinkingTokens = 1_024;

/** Anthropic Messages. */
export function createAnthropicMessages(options: AnthropicMessagesOptions): UpstreamDialect {
  return {
    path: messagesPath,
    encode(request, { model, maxOutputTokens }) {
      const messages = encodeMessages(request.messages);
      if (options.promptCaching) markForCache(messages);
      const thinking = encodeThinking(options, maxOutputTokens);
      const body: AnthropicRequest = {
        model,
        max_tokens: maxOutputTokens,
        ...(request.system === '' ? {} : { system: [{ type: 'text', text: request.system, ...(options.promptCaching ? cacheMark : {}) }] }),
        messages,
        ...(request.tools.length === 0 ? {} : { tools: request.tools.map(encodeTool) }),
        // The provider refuses a temperature together with thinking.
        ...(request.temperature === undefined || thinking !== undefined ? {} : { temperature: Math.min(1, request.temperature) }),
        ...(request.outputSchema === undefined
          ? {}
          : { output_config: { format: { type: 'json_schema', schema: closeSchema(request.outputSchema) } } }),
        ...(thinking === undefined ? {} : { thinking }),
        stream: true,
      };
      return JSON.stringify(body);
    },
    decoder: createMessagesDecoder,
  };
}

function encodeThinking({ thinking }: AnthropicMessagesOptions, maxOutputTokens: number): AnthropicRequest['thinking'] {
  if (thinking === undefined || thinking.type === 'adaptive') return thinking;
  const budget = Math.max(minThinkingTokens, thinking.budgetTokens);
  return maxOutputTokens > budget ? { type: 'enabled', budget_tokens: budget } : undefined;
}

function encodeTool(tool: ModelRequest['tools'][number]): AnthropicTool {
  return { name: tool.name, description: tool.description, input_schema: tool.inputSchema };
}

/** A message whose blocks are still being put together. */
interface MessageDraft {
  readonly role: 'user' | 'assistant';
  readonly content: AnthropicBlock[];
}

/** Messages of one role in a row become one, tool results first: the format wants turns, and results right after their calls. */
function encodeMessages(messages: readonly Message[]): MessageDraft[] {
  const out: MessageDraft[] = [];
  for (const message of messages) {
    const role = message.role === 'assistant' ? 'assistant' : 'user';
    const content = message.role === 'assistant' ? message.content.flatMap(encodeAssistantPart) : encodeInput(message);
    if (content.length === 0) continue; // the format refuses messages without content
    const last = out.at(-1);
    if (last?.role === role) last.content.push(...content);
    else out.push({ role, content });
  }
  return out;
}

function encodeInput(message: Exclude<Message, { role: 'assistant' }>): AnthropicBlock[] {
  if (message.role === 'tool') {
    return message.content.map(
      (part): AnthropicBlock => ({
        type: 'tool_result',
        tool_use_id: part.providerCallId,
        content: part.output === '' ? '(no output)' : part.output,
        ...(part.isError ? { is_error: true } : {}),
      }),
    );
  }
  return message.content.flatMap((part): AnthropicBlock[] => {
    if (part.type === 'text') return part.text === '' ? [] : [{ type: 'text', text: part.text }];
    const source: AnthropicImageSource =
      'url' in part.data ? { type: 'url', url: part.data.url } : { type: 'base64', media_type: part.mediaType, data: part.data.base64 };
    return [{ type: 'image', source }];
  });
}

function encodeAssistantPart(part: AssistantPart): AnthropicBlock[] {
  switch (part.type) {
    case 'text':
      return part.text === '' ? [] : [{ type: 'text', text: part.text }];
    case 'reasoning':
      // Reasoning without the provider's proof (of another provider) would be refused.
      if (part.signature === undefined) return [];
      if (part.signature.startsWith(redactedMark)) return [{ type: 'redacted_thinking', data: part.signature.slice(redactedMark.length) }];
      return [{ type: 'thinking', thinking: part.text, signature: part.signature }];
    case 'tool_call':
      return [{ type: 'tool_use', id: part.providerCallId, name: part.name, input: toolInput(part) }];
    default:
      return part satisfies never;
  }
}

function markForCache(messages: readonly MessageDraft[]): void {
  const blocks = messages.at(-1)?.content;
  const block = blocks?.at(-1);
  if (blocks === undefined || block === undefined || block.type === 'thinking' || block.type === 'redacted_thinking') return;
  blocks[blocks.length - 1] = { ...block, ...cacheMark };
}
