import type { FinishReason, Usage } from '@nexus-agent/protocol';
import { createAssembler, type ToolCallDraft } from '../assembler.ts';
import { asCount, asRecord, asString, type Unread } from '../json.ts';
import { providerError } from '../provider-error.ts';
import { malformed, parseEvent, type StreamContext, type StreamDecoder, streamCut } from '../upstream.ts';
import type { AnthropicBlock, AnthropicDelta, AnthropicEvent, AnthropicStop, AnthropicUsage } from './wire.ts';

/** Reasoning that the provider encrypted has no text; its data travel in the signature behind this mark. */
export const redactedMark = 'redacted_thinking:';

const finishReasons: Readonly<Record<string, FinishReason>> = {
  end_turn: 'stop',
  stop_sequence: 'stop',
  tool_use: 'tool_calls',
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  refusal: 'content_filter',
};

/** The answer is complete only when `message_stop` was seen. */
export function createMessagesDecoder(context: StreamContext): StreamDecoder {
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
