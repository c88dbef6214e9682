import type { GivenBy, Message } from '@nexus-agent/protocol';
import { normaliseConversation, type SettledPlace, toWireJson, type WireTurn } from './normalise.ts';

/** A conversation, and what else the JSON of its messages depends on. */
export interface EncodedConversation {
  readonly messages: readonly Message[];
  readonly recipient: GivenBy;
  /** Equal for requests in which equal messages look alike on the wire. */
  readonly likeness: string;
}

/** The messages of a wire for some of the turns of a conversation. `first`, `last`: nothing stands before them, or after. */
export type EncodeTurns<Wire> = (turns: readonly WireTurn[], place: { readonly first: boolean; readonly last: boolean }) => readonly Wire[];

/** What a dialect has to know of all messages, taken from one after the other. */
export interface Summing<Wire, Sum> {
  readonly initial: Sum;
  readonly next: (sum: Sum, message: Wire) => Sum;
}

export interface Beginnings<Wire, Sum> {
  /** The JSON of the array of messages, and the sum of them. */
  encode(conversation: EncodedConversation, encodeTurns: EncodeTurns<Wire>): { readonly json: string; readonly sum: Sum };
}

/** A conversation of fewer messages is written as a whole: that costs less than remembering it. */
const fewMessages = 32;
/** The beginning of a longer JSON is not kept. */
const maxChars = 4_000_000;

interface Beginning<Sum> {
  readonly likeness: string;
  readonly messages: readonly Message[];
  readonly settled: SettledPlace;
  /** The JSON of what stands before the settled place, without brackets. */
  readonly json: string;
  readonly sum: Sum;
}

/**
 * A run sends its whole conversation with each step. What it begins with does not change any more, and so its JSON is kept from one
 * request to the next, for as long as somebody holds the conversation's first message: a step of a long run costs what is new in it.
 */
export function createBeginnings<Wire extends object, Sum>({ initial, next }: Summing<Wire, Sum>): Beginnings<Wire, Sum> {
  const known = new WeakMap<Message, Beginning<Sum>>();

  function beginningOf({ messages, likeness }: EncodedConversation): Beginning<Sum> | null {
    const [first] = messages;
    const found = first === undefined ? undefined : known.get(first);
    if (found === undefined || found.likeness !== likeness || found.settled.messages >= messages.length) return null;
    // With the answer that begins a turn there: without it what stands before is not settled.
    for (let index = 0; index <= found.settled.messages; index++) if (found.messages[index] !== messages[index]) return null;
    return found;
  }

  return {
    encode(conversation, encodeTurns) {
      const { messages, recipient, likeness } = conversation;
      const begun = beginningOf(conversation);
      const { turns, settled } = normaliseConversation(messages, recipient, begun?.settled);
      const before = settled === null || messages.length < fewMessages ? 0 : settled.turns - (begun?.settled.turns ?? 0);
      const first = begun === null;
      const head = before === 0 ? [] : encodeTurns(turns.slice(0, before), { first, last: false });
      const rest = encodeTurns(before === 0 ? turns : turns.slice(before), { first: first && before === 0, last: true });
      const json = joined(begun?.json ?? '', head);
      const sum = head.reduce(next, begun === null ? initial : begun.sum);
      const [message] = messages;
      if (before > 0 && settled !== null && message !== undefined && json.length <= maxChars)
        known.set(message, { likeness, messages, settled, json, sum });
      return { json: `[${joined(json, rest)}]`, sum: rest.reduce(next, sum) };
    },
  };
}

function joined(json: string, messages: readonly object[]): string {
  const rest = messages.map(toWireJson).join(',');
  return json === '' || rest === '' ? json + rest : `${json},${rest}`;
}

/** A body with its messages, which are JSON already. */
export function withMessages(body: Readonly<Record<string, unknown>>, messages: string): string {
  return `${toWireJson({ ...body, messages: undefined }).slice(0, -1)},"messages":${messages}}`;
}
