import type { Usage } from '@nexus-agent/protocol';
import { createAssembler, type ToolCallDraft } from '../assembler.ts';
import { fitFinishReason, readFinishReason } from '../finish.ts';
import { argumentText, asCount, asRecord, asString, carriesSomething } from '../json.ts';
import { answerLimits, tooLarge } from '../limits.ts';
import { readTextPieces, shownWord } from '../parts.ts';
import { isErrorReport } from '../provider-error.ts';
import { isEndMark, notUnderstood, parseEvent, reportedError, type StreamContext, type StreamDecoder, streamCut } from '../upstream.ts';
import { AccountedPieces, readUsage } from '../usage.ts';
import type { AnthropicBlock, AnthropicDelta, AnthropicEvent, AnthropicStop } from './wire.ts';

type Members = Readonly<Record<string, unknown>>;

/** Reasoning that the provider encrypted has no text; its data travel in the signature behind this mark. */
export const redactedMark = 'redacted_thinking:';

/** Longer than any reason for which an answer ends. */
const longestReason = 100;

/** The answer is complete only when `message_stop` was seen. */
export function createMessagesDecoder(context: StreamContext): StreamDecoder {
  const message = createBlockReader(context);
  let stopReason = '';
  let done = false;
  let begun = false;
  let counts: Members = {};
  const accounted = new AccountedPieces();

  /** What is said of the input, and as far as anybody knows of the output; where an answer starts its account is yet to come. */
  function readCounts(value: unknown): number | undefined {
    const told = asRecord(value) ?? {};
    counts = { ...counts, ...laterCounts(counts, told) };
    return asCount(told.output_tokens ?? told.completion_tokens);
  }

  function readBlocks(content: unknown): void {
    const blocks = typeof content === 'string' ? [{ type: 'text', text: content }] : (content ?? []);
    if (!Array.isArray(blocks)) throw notUnderstood(context, 'content that is not a list of blocks');
    if (blocks.length > answerLimits.parts) throw tooLarge(context, `more than ${answerLimits.parts} blocks`);
    for (const [index, block] of blocks.entries()) {
      message.start(`whole ${index}`, block);
      message.stop(`whole ${index}`);
    }
  }

  function readStop(value: unknown): void {
    const reason = asRecord<AnthropicStop>(value)?.stop_reason;
    if (typeof reason === 'string') stopReason = reason.slice(0, longestReason);
  }

  /** Its account is of all of it, whatever becomes of it. */
  function readDocument(body: Members): void {
    const outputTokens = readCounts(body.usage);
    if (outputTokens !== undefined) accounted.told(outputTokens, Number.POSITIVE_INFINITY);
    if (isErrorReport('', body)) throw reportedError(context, body);
    if (body.content === undefined) throw notUnderstood(context, 'JSON that is no answer');
    begun = true;
    readBlocks(body.content);
    readStop(body);
    done = true;
  }

  function readEvent(event: Members, name: string): void {
    const outputTokens = readCounts(event.usage);
    if (isErrorReport(name, event)) throw reportedError(context, event);
    readPart(event, name);
    if (outputTokens !== undefined) accounted.told(outputTokens, message.pieces());
  }

  function readPart(event: Members, name: string) {
    switch (event.type ?? name) {
      case 'content_block_delta':
        return message.delta(event.index, event.delta);
      case 'content_block_start':
        return message.start(event.index, event.content_block);
      case 'content_block_stop':
        return message.stop(event.index);
      case 'message_start': {
        const first = asRecord(event.message) ?? {};
        begun = true;
        readCounts(first.usage);
        return readBlocks(first.content);
      }
      case 'message_delta':
        if (hasContent(asRecord(event.delta) ?? {})) throw notUnderstood(context, 'content where an answer ends');
        return readStop(event.delta);
      case 'message_stop':
        done = true;
        return;
      case 'message':
        return readDocument(event);
      default:
        if (hasContent(event)) throw notUnderstood(context, 'an event with content of a kind that is not known');
    }
  }

  return {
    event(name, data) {
      if (done) return;
      if (isEndMark(data)) {
        // Not of Anthropic: gateways close every stream with it.
        done = stopReason !== '';
        return;
      }
      const event = parseEvent<AnthropicEvent>(context, name, data);
      if (event !== null) readEvent(event, name);
      else if (name === 'message_stop') done = true;
    },
    document: readDocument,
    isFinished: () => done,
    answer() {
      if (!done) throw streamCut(context);
      const reason = stopReason === '' ? 'stop' : readFinishReason(stopReason);
      if (reason === null) throw streamCut(context, `with the reason "${stopReason.slice(0, 40)}"`);
      const content = message.content(reason === 'length');
      // Without a reason the last event says that the answer is whole, and what came may say that it is not.
      const broken = content.length === 0 || content.some((part) => part.type === 'tool_call' && part.invalidInput !== undefined);
      if (stopReason === '' && broken) throw streamCut(context, 'without a stop reason');
      return { content, finishReason: fitFinishReason(reason, message.assembler.hasToolCalls()) };
    },
    partial: () => ({ content: message.content(true), finishReason: 'length' }),
    usage: (): Usage | null => readUsage(counts),
    isAccounted: () => accounted.areWhole(message.pieces()),
    hasBegun: () => begun || message.pieces() > 0,
    streamedTokens: () => message.assembler.streamedTokens(),
  };
}

/** Whether an event that has none holds some of an answer, in this format or another. */
function hasContent(event: Members): boolean {
  return ['delta', 'content_block', 'content', 'text', 'completion', 'choices'].some((member) => carriesSomething(event[member]));
}

/** What an account is read from; whatever else is in it is not kept. */
const countNames: ReadonlySet<string> = new Set([
  ...'input_tokens output_tokens cache_read_input_tokens cache_creation_input_tokens input_tokens_details output_tokens_details'.split(' '),
  ...'prompt_tokens completion_tokens total_tokens prompt_tokens_details completion_tokens_details prompt_cache_hit_tokens'.split(' '),
]);

/** The counts of a stream are cumulative: each replaces the one before it, unless it says less or nothing. */
function laterCounts(earlier: Members, later: Members): Members {
  return Object.fromEntries(
    Object.entries(later).filter(([name, value]) => {
      if (!countNames.has(name)) return false;
      const before = asCount(earlier[name]);
      if (before === undefined) return value !== null;
      const after = asCount(value);
      return after !== undefined && after >= before;
    }),
  );
}

/** A call whose block has begun; `initial` is its input if no pieces follow. */
interface BegunCall {
  readonly draft: ToolCallDraft;
  readonly initial: string;
  /** Nothing but blanks came of its input so far. */
  blank: boolean;
}

/** Puts the message together from its blocks. */
function createBlockReader(context: StreamContext) {
  const assembler = createAssembler(context);
  const calls: BegunCall[] = [];
  const byIndex = new Map<unknown, BegunCall>();
  let pieces = 0;

  function add(value: unknown, kind: 'text' | 'reasoning'): void {
    for (const piece of readTextPieces(context, value, kind)) {
      pieces += 1;
      assembler.add(piece.kind, piece.text);
    }
  }

  function sign(signature: unknown): void {
    if (asString(signature) !== '') assembler.signature(asString(signature));
  }

  /** Some servers give a call's whole input where its block starts. */
  function settle(call: BegunCall): void {
    const { draft, initial } = call;
    if (!call.blank || initial === '') return;
    draft.arguments = '';
    assembler.addArguments(draft, initial);
    call.blank = false;
    if (initial !== '{}') context.onCallText?.(initial);
  }

  function begin(index: unknown, block: Members): void {
    const name = asString(block.name);
    const call = { draft: assembler.toolCall(asString(block.id), name), initial: argumentText(block.input), blank: true };
    pieces += 1;
    context.onCallText?.(name);
    calls.push(call);
    byIndex.set(index, call);
  }

  return {
    assembler,
    /** How many pieces came that carry something. */
    pieces: () => pieces,
    start(index: unknown, value: unknown) {
      const block = asRecord<AnthropicBlock>(value);
      if (block === null) throw notUnderstood(context, 'a content block that is not an object');
      assembler.boundary();
      byIndex.delete(index);
      switch (block.type) {
        case 'text':
          return add(block.text, 'text');
        case 'thinking':
          add(block.thinking, 'reasoning');
          return sign(block.signature);
        case 'redacted_thinking':
          return assembler.signature(redactedMark + asString(block.data));
        case 'tool_use':
          return begin(index, block);
        default:
          throw notUnderstood(context, `a content block of the type ${shownWord(block.type)}`);
      }
    },
    delta(index: unknown, given: unknown) {
      const value = asRecord<AnthropicDelta>(given);
      if (value === null) throw notUnderstood(context, 'a delta that is not an object');
      switch (value.type) {
        case 'text_delta':
          return add(value.text, 'text');
        case 'thinking_delta':
          return add(value.thinking, 'reasoning');
        case 'signature_delta':
          return sign(value.signature);
        case 'citations_delta':
          return;
        case 'input_json_delta': {
          const piece = argumentText(value.partial_json);
          if (piece === '') return;
          const call = byIndex.get(index) ?? (index === undefined || index === null ? calls.at(-1) : undefined);
          if (call === undefined) throw notUnderstood(context, 'tool input for a block that is not a tool call');
          pieces += 1;
          assembler.addArguments(call.draft, piece);
          call.blank &&= piece.trim() === '';
          return context.onCallText?.(piece);
        }
        default:
          throw notUnderstood(context, `a delta of the type ${shownWord(value.type)}`);
      }
    },
    stop(index: unknown): void {
      const call = byIndex.get(index);
      if (call !== undefined) settle(call);
      assembler.boundary();
    },
    content(cut: boolean) {
      for (const call of calls) settle(call);
      return assembler.content(cut);
    },
  };
}
