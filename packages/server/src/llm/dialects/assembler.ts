import { type AssistantPart, dictionary } from '@nexus-agent/protocol';
import { isExactNumber, isTooDeep, parseExactJson } from '#core';
import type { DeltaKind } from '#llm/contract';
import { estimateTextTokens } from '#llm/tokens';
import { asRecord } from './json.ts';
import { answerLimits, tooLarge } from './limits.ts';
import type { StreamContext } from './upstream.ts';

/** Builds the content of an answer from its fragments, in order of arrival. Throws where they are more than {@link answerLimits} has room for. */
export interface Assembler {
  /** Text or reasoning. Half a character at its end waits for the other half. */
  add(kind: DeltaKind, delta: string): void;
  /** Ends the current text or reasoning: what follows of the same kind is a part of its own. */
  boundary(): void;
  /** The proof of the reasoning part that was last written, or of an empty one when there is none. */
  signature(value: string): void;
  /** Opens a tool call; gives the handle for its argument fragments. */
  toolCall(id: string, name: string): ToolCallDraft;
  /** A longer name of a call. */
  rename(call: ToolCallDraft, name: string): void;
  /** More of the arguments of a call. */
  addArguments(call: ToolCallDraft, piece: string): void;
  /**
   * Halves of characters whose other half never came are replaced, which may emit. `cut`: the answer ended before the model
   * was done, so a last call without arguments may have wanted some.
   */
  content(cut?: boolean): AssistantPart[];
  /** All text or reasoning so far, with the half character that waits. */
  soFar(kind: DeltaKind): string;
  /** How long that is. */
  lengthSoFar(kind: DeltaKind): number;
  isEmpty(): boolean;
  hasToolCalls(): boolean;
  /** Estimate of the output tokens received so far. */
  streamedTokens(): number;
}

export interface ToolCallDraft {
  id: string;
  name: string;
  arguments: string;
  /** What they are when the pieces put together are no JSON: the last piece, where each began with the one before it. */
  otherwise?: string;
}

type TextDraft = { readonly type: 'text'; text: string } | { readonly type: 'reasoning'; text: string; signature: string };
type Draft = TextDraft | { readonly type: 'tool_call'; call: ToolCallDraft };

/** The first half of a character, and the part that it ends. */
interface HeldHalf {
  readonly draft: TextDraft;
  readonly half: string;
}

const replacement = '\ufffd';

/** `onDelta` is called with each piece of text or reasoning before it is added; empty pieces are dropped. */
export function createAssembler(context: Pick<StreamContext, 'provider' | 'model' | 'onDelta' | 'maxAnswerChars'>): Assembler {
  const { onDelta: emit, maxAnswerChars = answerLimits.chars } = context;
  const drafts: Draft[] = [];
  let chars = 0;
  let calls = 0;
  const lengths: Record<DeltaKind, number> = dictionary({ text: 0, reasoning: 0 });
  const held: Record<DeltaKind, HeldHalf | null> = dictionary({ text: null, reasoning: null });
  let open = null as Draft | null; // assigned in closures, which the flow analysis does not see

  function start<Kind extends Draft>(draft: Kind): Kind {
    if (drafts.length >= answerLimits.parts) throw tooLarge(context, `more than ${answerLimits.parts} parts`);
    open = draft;
    drafts.push(draft);
    return draft;
  }

  function draftOf(kind: DeltaKind): TextDraft {
    if (open !== null && open.type === kind) return open;
    return start(kind === 'text' ? { type: 'text', text: '' } : { type: 'reasoning', text: '', signature: '' });
  }

  function take(text: string): void {
    chars += text.length;
    if (chars > maxAnswerChars) throw tooLarge(context, `more than ${maxAnswerChars} characters`);
  }

  function checkName(name: string): void {
    if (name.length > answerLimits.nameChars) throw tooLarge(context, `a name of a tool of more than ${answerLimits.nameChars} characters`);
  }

  function put(draft: TextDraft, text: string): void {
    take(text);
    lengths[draft.type] += text.length;
    emit(draft.type, text);
    draft.text += text;
  }

  /** Gives a half that waits its other half, when the text begins with one; what is left of the text. */
  function completeHalf(kind: DeltaKind, text: string): string {
    const waiting = held[kind];
    if (waiting === null) return text;
    held[kind] = null;
    const fits = isLowHalf(text.charCodeAt(0));
    put(waiting.draft, fits ? waiting.half + text.charAt(0) : replacement);
    return fits ? text.slice(1) : text;
  }

  return {
    add(kind, delta) {
      if (delta === '') return;
      const text = held[kind] === null ? delta : completeHalf(kind, delta);
      if (text === '') return;
      const draft = draftOf(kind);
      const cutsOff = isHighHalf(text.charCodeAt(text.length - 1));
      if (cutsOff) held[kind] = { draft, half: text.slice(-1) };
      const whole = (cutsOff ? text.slice(0, -1) : text).toWellFormed();
      if (whole !== '') put(draft, whole);
    },
    boundary() {
      open = null;
    },
    signature(value) {
      take(value);
      if (open?.type === 'reasoning') open.signature += value;
      else start({ type: 'reasoning', text: '', signature: value });
    },
    toolCall(id, name) {
      checkName(name);
      if (id.length > answerLimits.idChars) throw tooLarge(context, `an id of a call of more than ${answerLimits.idChars} characters`);
      calls += 1;
      if (calls > answerLimits.calls) throw tooLarge(context, `more than ${answerLimits.calls} tool calls`);
      take(id);
      take(name);
      const call: ToolCallDraft = { id, name, arguments: '' };
      start({ type: 'tool_call', call });
      return call;
    },
    rename(call, name) {
      checkName(name);
      call.name = name;
    },
    addArguments(call, piece) {
      take(piece);
      call.arguments += piece;
    },
    content(cut = false) {
      completeHalf('reasoning', '');
      completeHalf('text', '');
      return drafts.map((draft, index) => finishDraft(draft, cut && index === drafts.length - 1));
    },
    soFar: (kind) => drafts.map((draft) => (draft.type === kind ? draft.text : '')).join('') + (held[kind]?.half ?? ''),
    lengthSoFar: (kind) => lengths[kind] + (held[kind]?.half.length ?? 0),
    isEmpty: () => drafts.length === 0,
    hasToolCalls: () => drafts.some((draft) => draft.type === 'tool_call'),
    streamedTokens: () => drafts.reduce((sum, draft) => sum + draftTokens(draft), 0),
  };
}

function isHighHalf(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}

function isLowHalf(code: number): boolean {
  return code >= 0xdc00 && code <= 0xdfff;
}

function draftTokens(draft: Draft): number {
  if (draft.type === 'tool_call') return estimateTextTokens(draft.call.name) + estimateTextTokens(draft.call.arguments) + 16;
  return estimateTextTokens(draft.text);
}

function finishDraft(draft: Draft, cut: boolean): AssistantPart {
  if (draft.type === 'text') return draft;
  if (draft.type === 'reasoning') {
    return { type: 'reasoning', text: draft.text, ...(draft.signature === '' ? {} : { signature: draft.signature }) };
  }
  const { id, name, arguments: raw } = draft.call;
  const call = { type: 'tool_call', providerCallId: id.toWellFormed(), name: name.toWellFormed() } as const;
  if (raw.trim() === '' && cut) return { ...call, input: null, invalidInput: raw };
  const put = readArguments(raw);
  const read = 'invalid' in put && draft.call.otherwise ? readArguments(draft.call.otherwise) : put;
  return 'input' in read ? { ...call, input: read.input } : { ...call, input: null, invalidInput: raw.toWellFormed() };
}

/** What a call is made with; arguments that say nothing are none, and an object that was written as a text is that object. */
function readArguments(raw: string): { readonly input: unknown } | { readonly invalid: true } {
  if (raw.trim() === '') return { input: {} };
  if (isTooDeep(raw)) return { invalid: true };
  let value: unknown;
  try {
    value = parseExactJson(raw);
  } catch {
    return { invalid: true };
  }
  if (value === null || (Array.isArray(value) && value.length === 0)) return { input: {} };
  if (typeof value === 'string') {
    const inner = readArguments(value);
    if ('input' in inner && asRecord(inner.input) !== null) return inner;
  }
  return { input: wellFormed(value) };
}

/**
 * A copy whose texts have no half characters, where the value has any: no store and no wire takes them. A whole number that would lose digits
 * becomes a text of them: a tool that takes numbers alone refuses it, where it would have worked on another record.
 */
function wellFormed(value: unknown): unknown {
  if (isExactNumber(value)) return digitsOf(JSON.stringify(value));
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  const record = asRecord(value);
  if (record === null) return value;
  return Object.fromEntries(Object.entries(record).map(([key, item]) => [key.toWellFormed(), wellFormed(item)]));
}

function digitsOf(written: string): number | string {
  const number = Number(written);
  const isLost = /^-?\d+$/.test(written) ? !Number.isFinite(number) || BigInt(written) !== BigInt(number) : !Number.isFinite(number);
  return isLost ? written : number;
}
