import type { FinishReason, Usage } from '@nexus-agent/protocol';
import { createAssembler, type ToolCallDraft } from '../assembler.ts';
import { asCount, asRecord, asString, type Unread } from '../json.ts';
import { providerError } from '../provider-error.ts';
import { malformed, parseEvent, type StreamContext, type StreamDecoder, streamCut } from '../upstream.ts';
import { endMark, type OpenAiChoice, type OpenAiChunk, type OpenAiDelta, type OpenAiToolCallDelta, type OpenAiUsage } from './wire.ts';

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
export function createChatDecoder(context: StreamContext): StreamDecoder {
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
