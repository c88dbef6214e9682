import type { Usage } from '@nexus-agent/protocol';
import type { DeltaKind } from '#llm/contract';
import { createAssembler } from '../assembler.ts';
import { fitFinishReason, readFinishReason } from '../finish.ts';
import { asRecord, asString, carriesSomething } from '../json.ts';
import { readTextPieces } from '../parts.ts';
import { isErrorReport } from '../provider-error.ts';
import { isEndMark, notUnderstood, parseEvent, reportedError, type StreamContext, type StreamDecoder, streamCut } from '../upstream.ts';
import { AccountedPieces, laterUsage, readUsage } from '../usage.ts';
import { createCallPieces } from './calls.ts';
import type { OpenAiChoice, OpenAiChunk } from './wire.ts';

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
  let begun = false;
  let usage: Usage | null = null;
  const accounted = new AccountedPieces();
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

  /** The accounts that a chunk may have in one of several places. */
  function readAccount({ usage: own, x_groq: groq, choices }: Members): Usage | null {
    const places = [own, asRecord(groq)?.usage, ...(Array.isArray(choices) ? choices.map((choice) => asRecord(choice)?.usage) : [])];
    return places.reduce<Usage | null>((found, place) => (carriesSomething(place) ? laterUsage(found, readUsage(place)) : found), null);
  }

  /** Whether there was anything of an answer in it. */
  function readChunk(chunk: Members, name: string, isWhole = false): boolean {
    const account = readAccount(chunk);
    if (account !== null) usage = laterUsage(usage, account);
    if (account !== null && isWhole) accounted.told(account.outputTokens, Number.POSITIVE_INFINITY);
    if (isErrorReport(name, chunk)) throw reportedError(context, chunk);
    const found = readChoices(chunk);
    if (found) begun = true;
    if (account !== null && !isWhole) accounted.told(account.outputTokens, message.pieces());
    return found;
  }

  function readChoices(chunk: Members): boolean {
    const { choices } = chunk;
    if (choices === undefined || choices === null) return false;
    if (!Array.isArray(choices)) throw notUnderstood(context, 'a chunk whose choices are not a list');
    if (responseId === '') responseId = asString(chunk.id);
    let found = false;
    for (const item of choices) {
      const choice = asRecord<OpenAiChoice>(item);
      if (choice === null) continue;
      found = true;
      readChoice(choice);
    }
    return found;
  }

  return {
    event(name, data) {
      if (done) return;
      if (isEndMark(data)) {
        done = true;
        return;
      }
      const chunk = parseEvent<OpenAiChunk>(context, name, data);
      if (chunk !== null) readChunk(chunk, name);
    },
    document(body) {
      if (!readChunk(body, '', true)) throw notUnderstood(context, 'JSON that is no answer');
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
    partial: () => ({ content: message.assembler.content(true), finishReason: 'length' }),
    usage: () => usage,
    isAccounted: () => accounted.areWhole(message.pieces()),
    get begun() {
      return begun;
    },
    streamedTokens: () => message.assembler.streamedTokens(),
  };
}

/** Puts the message together from its pieces, or from one that holds all of it. */
function createMessageReader(context: StreamContext) {
  const assembler = createAssembler(context.onDelta);
  const calls = createCallPieces(assembler, context.onCallText);
  let pieces = 0;
  let speaker: unknown; // index of the choice that gives the text

  function addReasoning(delta: Members): void {
    let given: unknown; // the same under two names is said once
    for (const name of reasoningMembers) {
      const value = delta[name];
      if (!carriesSomething(value) || value === given) continue;
      given ??= value;
      add(value, 'reasoning');
    }
    if (given === undefined) add(delta.reasoning_details, 'reasoning');
  }

  function add(value: unknown, kind: DeltaKind, index?: unknown): void {
    if (value === undefined || value === null || value === '') return;
    for (const piece of readTextPieces(context, value, kind)) {
      pieces += 1;
      if (kind === 'text') hold(index);
      assembler.add(piece.kind, piece.text);
    }
  }

  function hold(index: unknown): void {
    speaker ??= index;
    if (index !== speaker) throw notUnderstood(context, 'two answers to one request');
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
    add(delta.content, 'text', index);
    add(delta.refusal, 'text', index);
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
    const spoken = assembler.textSoFar();
    if (text.startsWith(spoken)) add(text.slice(spoken.length), 'text', index);
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
      if (delta === null && carriesSomething(choice.delta)) add(choice.delta, 'text', index);
      if (delta !== null) addMembers(delta, index, responseId);
      if (whole !== null) addWhole(whole, index, responseId);
      if (delta === null && whole === null) add(choice.text, 'text', index);
    },
  };
}
