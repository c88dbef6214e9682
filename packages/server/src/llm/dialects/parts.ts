import type { DeltaKind } from '#llm/contract';
import { asRecord } from './json.ts';
import { answerLimits, tooLarge } from './limits.ts';
import { notUnderstood, type StreamContext } from './upstream.ts';

/** A piece of text, and what kind it is of. */
export interface TextPiece {
  readonly kind: DeltaKind;
  readonly text: string;
}

const kinds: Readonly<Record<string, DeltaKind>> = {
  text: 'text',
  output_text: 'text',
  refusal: 'text',
  thinking: 'reasoning',
  reasoning: 'reasoning',
  reasoning_content: 'reasoning',
  reasoning_text: 'reasoning',
  summary_text: 'reasoning',
  'reasoning.text': 'reasoning',
  'reasoning.summary': 'reasoning',
};

/** Parts that point elsewhere, or that only their provider can read: they hold no text of the answer. */
const silentTypes: ReadonlySet<unknown> = new Set(['reference', 'citation', 'citations', 'redacted_thinking', 'reasoning.encrypted']);

/** Where servers put the text of a part. */
const textMembers = ['text', 'value', 'content', 'output_text', 'refusal', 'thinking', 'reasoning', 'reasoning_content', 'summary'];
const thinkingMembers: ReadonlySet<string> = new Set(['thinking', 'reasoning', 'reasoning_content', 'summary']);
/** What a part may have beside its text. */
const plainMembers: ReadonlySet<string> = new Set(['type', 'id', 'index', 'format', 'signature', 'annotations', 'logprobs', 'closed']);

const maxDepth = 8;

/**
 * The text of content in any of the shapes that servers give it: a text, a part, a list of both, or nothing. Everything else
 * is an error, so that no part of an answer is lost in silence.
 */
export function readTextPieces(context: StreamContext, value: unknown, kind: DeltaKind): TextPiece[] {
  const pieces: TextPiece[] = [];
  collect({ context, pieces }, value, kind, 0);
  return pieces;
}

interface Collection {
  readonly context: StreamContext;
  readonly pieces: TextPiece[];
}

function collect(into: Collection, value: unknown, kind: DeltaKind, depth: number): void {
  if (value === undefined || value === null) return;
  if (typeof value === 'string') {
    if (value !== '') into.pieces.push({ kind, text: value });
    if (into.pieces.length > answerLimits.textPieces)
      throw tooLarge(into.context, `more than ${answerLimits.textPieces} pieces of text in an event`);
    return;
  }
  if (depth > maxDepth) throw notUnderstood(into.context, 'content of too many lists within lists');
  if (Array.isArray(value)) {
    for (const item of value) collect(into, item, kind, depth + 1);
    return;
  }
  const part = asRecord(value);
  if (part === null) throw notUnderstood(into.context, `content that is a ${typeof value}`);
  collectPart(into, part, kind, depth);
}

function collectPart(into: Collection, part: Readonly<Record<string, unknown>>, kind: DeltaKind, depth: number): void {
  const { type } = part;
  if (silentTypes.has(type)) return;
  const known =
    type === undefined || type === null ? 'text' : typeof type === 'string' && Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (known === undefined) throw notUnderstood(into.context, `content of the type ${shownWord(type)}`);
  // Within thinking everything is thinking.
  const own = kind === 'reasoning' ? kind : known;
  const strange = Object.keys(part).find((name) => !plainMembers.has(name) && !textMembers.includes(name) && part[name] !== null);
  // The same under two names is said once.
  const found = new Map(textMembers.filter((name) => part[name] !== undefined && part[name] !== null).map((name) => [part[name], name]));
  for (const [text, name] of found) collect(into, text, thinkingMembers.has(name) ? 'reasoning' : own, depth + 1);
  if (found.size === 0 && strange !== undefined)
    throw notUnderstood(into.context, `a part of content without text, but with ${shownWord(strange)}`);
}

/** A word of a provider for an error: short, and nothing but a word. */
export function shownWord(word: unknown): string {
  return typeof word === 'string' && /^[\w.:-]{1,60}$/.test(word) ? `"${word}"` : 'that is not known';
}
