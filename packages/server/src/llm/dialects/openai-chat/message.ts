import type { DeltaKind } from '#llm/contract';
import { createAssembler } from '../assembler.ts';
import { asIndex, asRecord, carriesSomething } from '../json.ts';
import { answerLimits, tooLarge } from '../limits.ts';
import { readTextPieces } from '../parts.ts';
import { notUnderstood, type StreamContext } from '../upstream.ts';
import { createCallPieces } from './calls.ts';

type Members = Readonly<Record<string, unknown>>;

/** Not of OpenAI: the names under which servers give their thinking. Some give the same under two of them. */
const reasoningMembers = ['reasoning_content', 'reasoning', 'reasoning_text', 'thinking'];
/** Answers that are not of text. */
const foreignMembers = ['audio', 'images', 'image', 'video'];
/** Where servers put text beside the message that it belongs to. */
const choiceTexts = ['text', 'content'];
/** Members of choices and messages that say nothing of the answer, or that are read. */
const plainMembers: ReadonlySet<string> = new Set([
  ...'id object created model provider role name type index phase channel recipient signature usage logprobs'.split(' '),
  ...'finish_reason native_finish_reason stop_reason matched_stop tool_call_id reasoning_signature'.split(' '),
  ...'delta message content text refusal tool_calls function_call reasoning_details thinking_blocks audio'.split(' '),
  ...reasoningMembers,
]);

/** Puts the message together from its pieces, or from one that holds all of it. */
export function createMessageReader(context: StreamContext) {
  const assembler = createAssembler(context);
  const calls = createCallPieces(context, assembler);
  let pieces = 0;
  let textPieces = 0;
  let speaker: unknown; // index of the choice that gives the text
  let unread: string | null = null;

  function addReasoning(delta: Members): void {
    let given: unknown; // the same under two names is said once
    for (const name of reasoningMembers) {
      const value = delta[name];
      if (!carriesSomething(value) || value === given) continue;
      given ??= value;
      add(value, 'reasoning');
    }
    if (given === undefined) add(carriesSomething(delta.reasoning_details) ? delta.reasoning_details : delta.thinking_blocks, 'reasoning');
  }

  /** Looks for text where nobody knows of any: an answer that has no other is not understood. */
  function lookForText(members: Members): void {
    if (unread !== null) return;
    for (const name in members) {
      const value = members[name];
      if (plainMembers.has(name) || typeof value !== 'string' || value.trim() === '') continue;
      unread = name.toWellFormed().slice(0, 40);
      return;
    }
  }

  function add(value: unknown, kind: DeltaKind, index?: unknown): void {
    if (value === undefined || value === null || value === '') return;
    for (const piece of readTextPieces(context, value, kind)) {
      pieces += 1;
      if (kind === 'text') {
        hold(index);
        textPieces += 1;
      }
      assembler.add(piece.kind, piece.text);
    }
  }

  function hold(index: unknown): void {
    speaker ??= index;
    if (index !== speaker) throw notUnderstood(context, 'two answers to one request');
  }

  function readCalls(value: unknown): readonly Members[] {
    const found = callsIn(value);
    if (found.length > answerLimits.callPieces) throw tooLarge(context, `more than ${answerLimits.callPieces} pieces of calls in an event`);
    return found.map((item) => {
      const fragment = asRecord(item);
      if (fragment === null) throw notUnderstood(context, 'a tool call that is not an object');
      return fragment;
    });
  }

  function addCalls(value: unknown, responseId: string): void {
    for (const fragment of readCalls(value)) {
      pieces += 1;
      calls.add(fragment, responseId);
    }
  }

  function addMembers(delta: Members, index: unknown, responseId: string): void {
    const foreign = foreignMembers.find((name) => carriesSomething(delta[name]));
    if (foreign !== undefined) throw notUnderstood(context, `an answer with ${foreign}`);
    addReasoning(delta);
    lookForText(delta);
    add(carriesSomething(delta.content) ? delta.content : delta.text, 'text', index);
    add(delta.refusal, 'text', index);
    if (carriesSomething(delta.tool_calls)) addCalls(delta.tool_calls, responseId);
    if (carriesSomething(delta.function_call)) addCalls({ function: delta.function_call }, responseId);
  }

  /** Some servers give beside each piece the message as it is so far, and some at the end the whole of it. */
  function addWhole(whole: Members, index: unknown, responseId: string) {
    if (pieces === 0) return addMembers(whole, index, responseId);
    const differs = () => notUnderstood(context, 'a message that is not the sum of its pieces');
    const said = readTextPieces(context, whole.content, 'text');
    for (const kind of ['reasoning', 'text'] as const) {
      const own = said.filter((piece) => piece.kind === kind).map(({ text }) => text);
      const text = own.join('') || (kind === 'reasoning' ? thoughtOf(whole) : '');
      const spoken = assembler.soFar(kind);
      if (text.startsWith(spoken)) add(text.slice(spoken.length), kind, index);
      else if (kind === 'text' && !spoken.startsWith(text)) throw differs();
    }
    if (carriesSomething(whole.tool_calls) && !calls.addRest(readCalls(whole.tool_calls), responseId)) throw differs();
  }

  function thoughtOf(whole: Members): string {
    const value = reasoningMembers.map((name) => whole[name]).find(carriesSomething);
    return readTextPieces(context, value, 'reasoning').reduce((sum, { text }) => sum + text, '');
  }

  /** Some servers end with a piece that is all of the text once more. */
  function isAllAgain(value: unknown): boolean {
    return (
      textPieces > 1 &&
      typeof value === 'string' &&
      value.length >= leastRepeatChars &&
      value.length === assembler.lengthSoFar('text') &&
      value === assembler.soFar('text')
    );
  }

  return {
    assembler,
    /** How many pieces came that carry something. */
    pieces: () => pieces,
    /** The name of a member in which text was that nobody has read; null when there was none. */
    unread: () => unread,
    leave(member: string): void {
      unread ??= member;
    },
    choice(choice: Members, responseId: string): void {
      const index = asIndex(choice.index) ?? 0;
      const delta = asRecord(choice.delta);
      const whole = asRecord(choice.message) ?? (carriesSomething(choice.message) ? { content: choice.message } : null);
      const before = pieces;
      if (delta === null && carriesSomething(choice.delta)) add(choice.delta, 'text', index);
      const ends = typeof choice.finish_reason === 'string' && choice.finish_reason !== '';
      if (delta !== null) addMembers(ends && isAllAgain(delta.content) ? { ...delta, content: null } : delta, index, responseId);
      if (whole !== null) addWhole(whole, index, responseId);
      if (pieces > before || whole !== null) return;
      const member = choiceTexts.find((name) => carriesSomething(choice[name]));
      if (member !== undefined) add(choice[member], 'text', index);
      lookForText(choice);
    },
  };
}

/** A shorter piece may well be what the model said twice. */
const leastRepeatChars = 8;

/** The calls of a message: in a list, alone, or by their places. */
function callsIn(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value.filter((item) => item !== null);
  const record = asRecord(value);
  if (record === null || !Object.entries(record).every(([key, item]) => /^\d+$/.test(key) && asRecord(item) !== null)) return [value];
  return Object.entries(record).map(([key, item]) => ({ index: Number(key), ...asRecord(item) }));
}
