import type { AssistantPart, FinishReason, Message, Usage } from '@nexus-agent/protocol';
import type { ModelRequest } from '#llm/contract';
import { createAssembler, type ToolCallDraft } from '../assembler.ts';
import { asCount, asRecord, asString, type Unread } from '../json.ts';
import { providerError } from '../provider-error.ts';
import { closeSchema } from '../schema.ts';
import { malformed, parseEvent, type StreamContext, type StreamDecoder, streamCut, toolInput, type UpstreamDialect } from '../upstream.ts';
import {
  type AnthropicBlock,
  type AnthropicDelta,
  type AnthropicEvent,
  type AnthropicImageSource,
  type AnthropicRequest,
  type AnthropicStop,
  type AnthropicTool,
  type AnthropicUsage,
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
/** Reasoning that the provider encrypted has no text; its data travel in the signature behind this mark. */
const redactedMark = 'redacted_thinking:';
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
    decoder: createDecoder,
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

const finishReasons: Readonly<Record<string, FinishReason>> = {
  end_turn: 'stop',
  stop_sequence: 'stop',
  tool_use: 'tool_calls',
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  refusal: 'content_filter',
};

/** The answer is complete only when `message_stop` was seen. */
function createDecoder(context: StreamContext): StreamDecoder {
  const assembler = createAssembler(context.onDelta);
  const calls = new Map<unknown, { readonly draft: ToolCallDraft; readonly initial: string }>();
  let stopReason = '';
  let done = false;
  let wireUsage: Unread<AnthropicUsage> | null = null;

  function startBlock(index: unknown, block: Unread<AnthropicBlock>): void {
    assembler.boundary();
    switch (block.type) {
      case 'text':
        assembler.text(asString(block.text));
        return;
      case 'thinking':
        assembler.reasoning(asString(block.thinking));
        if (asString(block.signature) !== '') assembler.signature(asString(block.signature));
        return;
      case 'redacted_thinking':
        assembler.signature(redactedMark + asString(block.data));
        return;
      case 'tool_use': {
        const input = asRecord(block.input) ?? {};
        const initial = Object.keys(input).length === 0 ? '' : JSON.stringify(input);
        calls.set(index, { draft: assembler.toolCall(asString(block.id), asString(block.name)), initial });
      }
    }
  }

  function delta(index: unknown, value: Unread<AnthropicDelta>): void {
    switch (value.type) {
      case 'text_delta':
        assembler.text(asString(value.text));
        return;
      case 'thinking_delta':
        assembler.reasoning(asString(value.thinking));
        return;
      case 'signature_delta':
        assembler.signature(asString(value.signature));
        return;
      case 'input_json_delta': {
        const call = calls.get(index);
        if (call === undefined) throw malformed(context, 'tool input for a block that is not a tool call');
        call.draft.arguments += asString(value.partial_json);
      }
    }
  }

  return {
    event(_name, data) {
      if (done) return;
      const event = parseEvent<AnthropicEvent>(context, data);
      switch (event.type) {
        case 'content_block_delta': {
          const value = asRecord<AnthropicDelta>(event.delta);
          if (value === null) throw malformed(context, 'a delta that is not an object');
          return delta(event.index, value);
        }
        case 'content_block_start': {
          const block = asRecord<AnthropicBlock>(event.content_block);
          if (block === null) throw malformed(context, 'a content block that is not an object');
          return startBlock(event.index, block);
        }
        case 'content_block_stop': {
          // Some servers give a call's whole input where the block starts.
          const call = calls.get(event.index);
          if (call !== undefined && call.draft.arguments === '') call.draft.arguments = call.initial;
          return assembler.boundary();
        }
        case 'message_start':
          wireUsage = asRecord<AnthropicUsage>(asRecord(event.message)?.usage);
          return;
        case 'message_delta': {
          const reason = asRecord<AnthropicStop>(event.delta)?.stop_reason;
          if (typeof reason === 'string') stopReason = reason;
          const usage = asRecord<AnthropicUsage>(event.usage);
          // Its counts are cumulative and replace the first ones.
          if (usage !== null)
            wireUsage = { ...wireUsage, ...Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== null)) };
          return;
        }
        case 'message_stop':
          done = true;
          return;
        case 'error':
          throw providerError({ provider: context.provider, model: context.model, body: event });
      }
    },
    get finished() {
      return done;
    },
    answer() {
      if (!done) throw streamCut(context);
      const reason = finishReasons[stopReason];
      if (reason === undefined)
        throw streamCut(context, stopReason === '' ? 'without a stop reason' : `with the reason "${stopReason.slice(0, 40)}"`);
      return {
        content: assembler.content(reason === 'length'),
        finishReason: reason === 'stop' && assembler.hasToolCalls() ? 'tool_calls' : reason,
      };
    },
    usage: () => readUsage(wireUsage),
    streamedTokens: () => assembler.streamedTokens(),
  };
}

function readUsage(usage: Unread<AnthropicUsage> | null): Usage | null {
  if (usage === null) return null;
  const plain = asCount(usage.input_tokens);
  const outputTokens = asCount(usage.output_tokens);
  if (plain === undefined || outputTokens === undefined) return null;
  const cacheReadTokens = asCount(usage.cache_read_input_tokens) ?? 0;
  const cacheWriteTokens = asCount(usage.cache_creation_input_tokens) ?? 0;
  const inputTokens = plain + cacheReadTokens + cacheWriteTokens;
  if (inputTokens + outputTokens === 0) return null;
  const details = asRecord<NonNullable<AnthropicUsage['output_tokens_details']>>(usage.output_tokens_details) ?? {};
  const reasoningTokens = Math.min(outputTokens, asCount(details.thinking_tokens) ?? asCount(details.reasoning_tokens) ?? 0);
  return { inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens, reasoningTokens };
}
