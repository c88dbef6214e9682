import type { AssistantPart, GivenBy, Message, ReasoningPart, ToolCallPart, ToolResultPart, UserPart } from '@nexus-agent/protocol';
import { isBlank, sha256 } from '#core';
import { toolInput } from './upstream.ts';

/** A call under the id and the name that it has on the wire. */
export interface WireCall {
  readonly type: 'call';
  readonly id: string;
  readonly name: string;
  readonly input: Record<string, unknown>;
  /** What the recipient gave with the call and wants back. */
  readonly opaque: ToolCallPart['opaque'];
}

export type WireResult = { readonly id: string } & Readonly<Pick<ToolResultPart, 'output' | 'isError'>>;

export type WireAnswerPart = { readonly type: 'text'; readonly text: string } | ReasoningPart | WireCall;

interface AssistantTurn {
  readonly role: 'assistant';
  readonly parts: WireAnswerPart[];
}

interface UserTurn {
  readonly role: 'user';
  /** One for each call of the turn before, in its order. */
  readonly results: WireResult[];
  readonly parts: UserPart[];
}

export type WireTurn = AssistantTurn | UserTurn;

/** What stands where a wire wants a turn and the conversation has none. */
const noMessage = '(no message)';
const noBeginning = '(The conversation begins with an answer.)';
const goOn = 'Go on.';
const noOutput = '(no output)';
const noResult = '(no result: the call was not finished)';

interface OpenCall {
  readonly id: string;
  readonly storedId: string;
  result: WireResult | null;
}

/** A place in a conversation before which nothing changes any more, however it goes on: an answer begins a turn there. */
export interface SettledPlace {
  /** How many messages and turns stand before it, and how many calls were made in them. */
  readonly messages: number;
  readonly turns: number;
  readonly calls: number;
}

export interface NormalisedConversation {
  /** Those after the place from which it was read. */
  readonly turns: WireTurn[];
  /** The newest place that is settled; null where there is none yet. */
  readonly settled: SettledPlace | null;
}

/**
 * A stored conversation as turns that every wire takes: they alternate and begin and end with a user's, nothing in them is
 * blank, each call has one result in the turn after it, and ids are unique. Only blank text is left out; a result without its
 * call becomes text. Each turn depends on what came before it alone, so a conversation that grows keeps its beginning.
 *
 * @param recipient keeps the reasoning that it gave itself, and reasoning of which nobody knows who gave it
 * @param from a place that was settled when a beginning of the same conversation was read: it is read on from there
 */
export function normaliseConversation(
  messages: readonly Message[],
  recipient: GivenBy,
  from: SettledPlace | null = null,
): NormalisedConversation {
  const turns: WireTurn[] = [];
  let settled = from;
  let open: OpenCall[] = [];
  let calls = from?.calls ?? 0;

  function userTurn(): UserTurn {
    const last = turns.at(-1);
    if (last?.role === 'user') return last;
    const made: UserTurn = { role: 'user', results: [], parts: [] };
    turns.push(made);
    return made;
  }

  function say(text: string): void {
    userTurn().parts.push({ type: 'text', text });
  }

  function closeCalls(): void {
    if (open.length === 0) return;
    userTurn().results.push(...open.map(({ id, result }) => result ?? { id, output: noResult, isError: true }));
    open = [];
  }

  function addAnswer(content: readonly AssistantPart[], index: number): void {
    const kept = keptParts(content, recipient);
    if (kept.length === 0) return;
    closeCalls();
    if (turns.length === 0 && from === null) say(noBeginning);
    const last = turns.at(-1);
    const before = last?.role === 'assistant' ? last : null;
    const turn: AssistantTurn = before ?? { role: 'assistant', parts: [] };
    if (before === null) {
      settled = { messages: index, turns: (from?.turns ?? 0) + turns.length, calls };
      turns.push(turn);
    }
    const firstText = kept.find(({ type }) => type === 'text');
    for (const part of kept) {
      if (part.type === 'tool_call') {
        calls += 1;
        const id = wireId(calls);
        open.push({ id, storedId: part.providerCallId, result: null });
        const opaque = isGivenBy(part, recipient) ? part.opaque : undefined;
        turn.parts.push({ type: 'call', id, name: wireName(part.name), input: toolInput(part), opaque });
      } else if (part.type === 'text') {
        // A further answer begins on a line of its own.
        const joins = before !== null && part === firstText;
        turn.parts.push(joins ? { type: 'text', text: `\n${part.text}` } : part);
      } else if (before === null) {
        turn.parts.push(part); // the middle of a turn is no place for it
      }
    }
  }

  for (let index = from?.messages ?? 0; index < messages.length; index++) {
    const message = messages[index];
    switch (message?.role) {
      case 'assistant':
        addAnswer(message.content, index);
        break;
      case 'tool':
        for (const { providerCallId, name, output, isError } of message.content) {
          const call = open.find(({ storedId, result }) => storedId === providerCallId && result === null);
          if (call !== undefined) call.result = { id: call.id, output: isBlank(output) ? noOutput : output, isError };
          else if (!isBlank(output)) say(`Result of a call of ${wireName(name)}: ${output}`);
        }
        break;
      case 'user':
        for (const part of message.content) if (!isEmptyInput(part)) userTurn().parts.push(part);
        break;
      default:
        message satisfies undefined;
    }
  }
  closeCalls();
  if (turns.length === 0) say(noMessage);
  if (turns.at(-1)?.role === 'assistant') say(goOn);
  return { turns, settled };
}

function isEmptyInput(part: UserPart): boolean {
  if (part.type === 'text') return isBlank(part.text);
  return 'base64' in part.data && part.data.base64 === '';
}

/**
 * What of an answer is sent: no blank text, no reasoning of others, and nothing where only reasoning is left. Reasoning that the
 * recipient is known to have given stays where it was, since it checks the place too; other reasoning goes to the front.
 */
function keptParts(content: readonly AssistantPart[], recipient: GivenBy): AssistantPart[] {
  const sent = content.filter((part) => {
    if (part.type === 'text') return !isBlank(part.text);
    return part.type === 'tool_call' || part.givenBy === undefined || isGivenBy(part, recipient);
  });
  const isLoose = (part: AssistantPart) => part.type === 'reasoning' && part.givenBy === undefined;
  const proven = sent.some((part) => part.type === 'reasoning' && isGivenBy(part, recipient));
  const front = [...sent.filter(isLoose), ...sent.filter((part) => !isLoose(part))];
  const ordered = proven ? front : callsLast(front);
  return ordered.slice(0, ordered.findLastIndex((part) => part.type !== 'reasoning') + 1);
}

/** Text that came after a call is said before it: a server that wants the results right after their calls takes no text between. */
function callsLast(parts: readonly AssistantPart[]): AssistantPart[] {
  const at = parts.findIndex(({ type }) => type === 'tool_call');
  if (at === -1) return [...parts];
  const after = parts.slice(at);
  return [...parts.slice(0, at), ...after.filter(({ type }) => type === 'text'), ...after.filter(({ type }) => type !== 'text')];
}

/** Whether the recipient is the model that is known to have given the part. */
export function isGivenBy({ givenBy }: { readonly givenBy?: GivenBy | undefined }, recipient: GivenBy): boolean {
  return givenBy?.provider === recipient.provider && givenBy.model === recipient.model;
}

/** Nine letters and digits, which every server takes: Mistral takes nothing else. */
function wireId(count: number): string {
  return `c${count.toString(36).padStart(8, '0')}`;
}

/** What OpenAI takes, and everybody else. */
const legalName = /^[a-zA-Z0-9_-]{1,64}$/;

/**
 * The name of a tool on the wire: its own where it is legal. Any other, such as one that a model made up, is given a legal
 * name that no other tool has.
 */
export function wireName(name: string): string {
  if (legalName.test(name)) return name;
  const clean = name.slice(0, 50).replace(/[^a-zA-Z0-9_-]/g, '_');
  return `${/^[a-zA-Z_]/.test(clean) ? clean : `tool_${clean}`}_${sha256(name).slice(0, 8)}`;
}

/** What Anthropic takes for a member of a tool's input. */
const legalMember = /^[a-zA-Z0-9_.-]{1,64}$/;

/** The name of a member of a tool's input on a wire that takes few characters in it: its own where it is legal. */
export function wireMember(name: string): string {
  return legalMember.test(name) ? name : `${name.slice(0, 50).replace(/[^a-zA-Z0-9_.-]/g, '_')}_${sha256(name).slice(0, 8)}`;
}

/** The record with other names for its members. */
export function renamed<Value>(record: Readonly<Record<string, Value>>, name: (own: string) => string): Record<string, Value> {
  return Object.fromEntries(Object.entries(record).map(([own, value]) => [name(own), value]));
}

/**
 * JSON for the wire. Half a surrogate pair, which servers refuse to read, becomes the sign for what cannot be shown, in names
 * of members too.
 */
export function toWireJson(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  // Of images there are megabytes, which this passes over much faster than a pattern.
  if (!text.includes('\\ud') || !/\\ud[89a-f]/.test(text)) return text;
  return text.replace(/\\(?:u(d[89a-f][0-9a-f]{2})|.)/g, (whole, half: string | undefined) => (half === undefined ? whole : '\\ufffd'));
}
