import type { Usage } from '@nexus-agent/protocol';
import { createAssembler } from '../assembler.ts';
import { fitFinishReason, readFinishReason } from '../finish.ts';
import { asRecord, asString, carriesSomething } from '../json.ts';
import { readTextPieces } from '../parts.ts';
import { isErrorReport } from '../provider-error.ts';
import { notUnderstood, parseEvent, reportedError, type StreamContext, type StreamDecoder, streamCut } from '../upstream.ts';
import { laterUsage, readUsage } from '../usage.ts';
import { createCallPieces } from './calls.ts';
import { endMark, type OpenAiChoice, type OpenAiChunk } from './wire.ts';

type Members = Readonly<Record<string, unknown>>;

/** Not of OpenAI: the names under which servers give their thinking. Some give the same under two of them. */
const reasoningMembers = ['reasoning_content', 'reasoning', 'reasoning_text', 'thinking'];
/** Answers that are not of text. */
const foreignMembers = ['audio', 'images', 'image', 'video'];

/** The answer is complete when a finish reason was seen and the stream then ended properly, or when its end mark followed content. */
export function createChatDecoder(context: StreamContext): StreamDecoder {
  const message = createMessageReader(context);
  let finish = '';
  let early = false; // a finish reason came, and content after it
  let done = false;
  let usage: Usage | null = null;
  let responseId = '';

  function readChoice(choice: Members): void {
    const before = message.pieces();
    message.choice(choice, responseId);
    if (finish !== '' && message.pieces() > before) early = true;
    const reason = choice.finish_reason;
    if (typeof reason !== 'string' || reason === '') return;
    const earlier = readFinishReason(finish);
    // A plain end after it does not undo that an answer was cut or withheld.
    if ((earlier === 'length' || earlier === 'content_filter') && readFinishReason(reason) === 'stop') return;
    finish = reason;
  }

  function readUsageOf(chunk: Members, choices: readonly unknown[]): void {
    const places = [chunk.usage, asRecord(chunk.x_groq)?.usage, ...choices.map((choice) => asRecord(choice)?.usage)];
    for (const place of places) usage = laterUsage(usage, readUsage(place));
  }

  /** Whether there was anything of an answer in it. */
  function readChunk(chunk: Members, name: string): boolean {
    const choices = Array.isArray(chunk.choices) ? chunk.choices : [];
    readUsageOf(chunk, choices);
    if (isErrorReport(name, chunk)) throw reportedError(context, chunk);
    if (chunk.choices !== undefined && chunk.choices !== null && !Array.isArray(chunk.choices)) {
      throw notUnderstood(context, 'a chunk whose choices are not a list');
    }
    if (responseId === '') responseId = asString(chunk.id);
    const read = choices.map((item) => asRecord<OpenAiChoice>(item)).filter((choice) => choice !== null);
    for (const choice of read) readChoice(choice);
    return read.length > 0;
  }

  return {
    event(name, data) {
      if (done) return;
      if (data.trim() === endMark) {
        done = true;
        return;
      }
      const chunk = parseEvent<OpenAiChunk>(context, name, data);
      if (chunk !== null) readChunk(chunk, name);
    },
    document(body) {
      if (!readChunk(body, '')) throw notUnderstood(context, 'JSON that is no answer');
      done = true;
    },
    get finished() {
      return done;
    },
    answer() {
      const { assembler } = message;
      if (!done && (finish === '' || early)) throw streamCut(context);
      const reason = finish === '' ? 'stop' : readFinishReason(finish);
      if (reason === null) throw streamCut(context, `with the reason "${finish.slice(0, 40)}"`);
      const content = assembler.content(reason === 'length');
      // Without a reason the end mark says that the answer is whole, and what came may say that it is not.
      const broken = content.length === 0 || content.some((part) => part.type === 'tool_call' && part.invalidInput !== undefined);
      if (finish === '' && broken) throw streamCut(context, 'without a finish reason');
      return { content, finishReason: fitFinishReason(reason, assembler.hasToolCalls()) };
    },
    // An account of the prompt alone, given before there was an answer, is half an account of it.
    usage: () => (usage?.outputTokens === 0 && finish !== '' && !message.assembler.isEmpty() ? null : usage),
    streamedTokens: () => message.assembler.streamedTokens(),
  };
}

/** Puts the message together from its pieces, or from one that holds all of it. */
function createMessageReader(context: StreamContext) {
  const assembler = createAssembler(context.onDelta);
  const calls = createCallPieces(assembler);
  let pieces = 0;
  let spoken = '';
  let speaker: unknown; // index of the choice that gives the text

  function addReasoning(delta: Members): void {
    const given = new Set(reasoningMembers.map((name) => delta[name]).filter(carriesSomething));
    if (given.size === 0) given.add(delta.reasoning_details);
    for (const value of given) {
      for (const { text } of readTextPieces(context, value, 'reasoning')) {
        pieces += 1;
        assembler.add('reasoning', text);
      }
    }
  }

  function addText(value: unknown, index: unknown): void {
    for (const { kind, text } of readTextPieces(context, value, 'text')) {
      speaker ??= index;
      if (index !== speaker) throw notUnderstood(context, 'two answers to one request');
      pieces += 1;
      if (kind === 'text') spoken += text;
      assembler.add(kind, text);
    }
  }

  function addCalls(value: unknown, responseId: string): void {
    for (const item of Array.isArray(value) ? value : [value]) {
      const fragment = asRecord(item);
      if (fragment === null) throw notUnderstood(context, 'a tool call that is not an object');
      pieces += 1;
      calls.add(fragment, responseId);
    }
  }

  function addMembers(delta: Members, index: unknown, responseId: string): void {
    const foreign = foreignMembers.find((name) => carriesSomething(delta[name]));
    if (foreign !== undefined) throw notUnderstood(context, `an answer with ${foreign}`);
    addReasoning(delta);
    addText(delta.content, index);
    addText(delta.refusal, index);
    if (carriesSomething(delta.tool_calls)) addCalls(delta.tool_calls, responseId);
    if (carriesSomething(delta.function_call)) addCalls({ function: delta.function_call }, responseId);
  }

  /** Some servers give beside each piece the message as it is so far, and some at the end the whole of it. */
  function addWhole(whole: Members, index: unknown, responseId: string) {
    if (pieces === 0) return addMembers(whole, index, responseId);
    const text = readTextPieces(context, whole.content, 'text').reduce(
      (sum, piece) => (piece.kind === 'text' ? sum + piece.text : sum),
      '',
    );
    if (text.startsWith(spoken)) addText(text.slice(spoken.length), index);
    else if (!spoken.startsWith(text)) throw notUnderstood(context, 'a message that is not the sum of its pieces');
  }

  return {
    assembler,
    /** How many pieces came that carry something. */
    pieces: () => pieces,
    choice(choice: Members, responseId: string): void {
      const index = choice.index ?? 0;
      const delta = asRecord(choice.delta);
      const whole = asRecord(choice.message);
      if (delta === null && carriesSomething(choice.delta)) addText(choice.delta, index);
      if (delta !== null) addMembers(delta, index, responseId);
      if (whole !== null) addWhole(whole, index, responseId);
      if (delta === null && whole === null) addText(choice.text, index);
    },
  };
}
