import type { AssistantPart, Message, ToolResultPart } from '@nexus-agent/protocol';
import { estimateTextTokens } from '#llm';

/**
 * The text, when it has at most so many tokens by our estimate; else its beginning and its end, about two to one, with a note
 * between them. The note is given how many characters are not there.
 */
export function shortenText(text: string, maxTokens: number, note: (cut: number) => string): string {
  if (estimateTextTokens(text) <= maxTokens) return text;
  const room = maxTokens - estimateTextTokens(note(text.length)) - 2;
  if (room < 16) return `[${text.length} characters cut]`;
  const headChars = charsWithin(text, Math.ceil((room * 2) / 3));
  const tailChars = mostWithin((chars) => text.slice(text.length - chars), text.length - headChars, Math.floor(room / 3));
  const head = text.slice(0, whole(text, headChars));
  const tail = text.slice(wholeFrom(text, text.length - tailChars));
  return `${head}\n${note(text.length - head.length - tail.length)}\n${tail}`;
}

/** How many characters of the beginning of a text have at most so many tokens by our estimate. */
export function charsWithin(text: string, maxTokens: number): number {
  return mostWithin((chars) => text.slice(0, chars), text.length, maxTokens);
}

function mostWithin(part: (chars: number) => string, maxChars: number, maxTokens: number): number {
  let low = 0;
  let high = Math.min(maxChars, maxTokens * 2); // no character counts less than half a token
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (estimateTextTokens(part(middle)) <= maxTokens) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Not within a pair of surrogates. */
function whole(text: string, end: number): number {
  return isPairAt(text, end) ? end - 1 : end;
}

function wholeFrom(text: string, start: number): number {
  return isPairAt(text, start) ? start + 1 : start;
}

function isPairAt(text: string, at: number): boolean {
  const before = text.charCodeAt(at - 1);
  const after = text.charCodeAt(at);
  return before >= 0xd800 && before < 0xdc00 && after >= 0xdc00 && after < 0xe000;
}

/** What one message may bring into a conversation, in tokens by our estimate. */
export interface MessageLimits {
  /** The results of one step together. */
  readonly resultTokens: number;
  /** The arguments of the calls of one answer together. */
  readonly argumentTokens: number;
}

/**
 * The messages, those of tools cut to what one step may bring in: small results stay whole, the large ones share what is left. The
 * model is told how much is missing and how to get it. A message is always cut the same under the same limits, so that what a
 * provider has cached stays good.
 */
export function shortenMessages(messages: readonly Message[], limits: MessageLimits): readonly Message[] {
  const key = `${limits.resultTokens}/${limits.argumentTokens}`;
  return messages.map((message) => shortenMessage(message, limits, key));
}

const shortened = new WeakMap<Message, { readonly key: string; readonly message: Message }>();

function shortenMessage(message: Message, { resultTokens, argumentTokens }: MessageLimits, key: string): Message {
  if (message.role === 'user') return message;
  const known = shortened.get(message);
  if (known?.key === key) return known.message;
  const made: Message =
    message.role === 'tool'
      ? { role: 'tool', content: shortenResults(message.content, resultTokens) }
      : { role: 'assistant', content: shortenArguments(message.content, argumentTokens) };
  // Only what is cut is another object: sizes are remembered by message.
  const same = made.content.every((part, index) => part === message.content[index]);
  const found = same ? message : made;
  shortened.set(message, { key, message: found });
  return found;
}

function shortenResults(results: readonly ToolResultPart[], maxTokens: number): ToolResultPart[] {
  const share = fairShare(
    results.map(({ output }) => estimateTextTokens(output)),
    maxTokens,
  );
  return results.map((result) => {
    const { name, output } = result;
    const note = (cut: number) =>
      `[… ${cut} of ${output.length} characters of this result are cut here: with the other results of this step it is more than you can be shown. For the rest call ${name} again for a part of it, such as a range or a search, and for fewer at a time. …]`;
    const short = shortenText(output, share, note);
    return short === output ? result : { ...result, output: short };
  });
}

/** Calls that were made already: what they were given can be shortened, as it is in the journal. */
function shortenArguments(content: readonly AssistantPart[], maxTokens: number): AssistantPart[] {
  const calls = content.flatMap((part) => (part.type === 'tool_call' ? [estimateTextTokens(JSON.stringify(part.input) ?? '')] : []));
  const share = fairShare(calls, maxTokens);
  if (share === Number.POSITIVE_INFINITY) return [...content];
  return content.map((part) => {
    if (part.type !== 'tool_call' || estimateTextTokens(JSON.stringify(part.input) ?? '') <= share) return part;
    return { ...part, input: shortenStrings(part.input, share) };
  });
}

function shortenStrings(value: unknown, maxTokens: number): unknown {
  const note = (cut: number) => `[… ${cut} more characters, which the tool was given but which are not repeated here …]`;
  if (typeof value === 'string') return shortenText(value, Math.floor(maxTokens / 2), note);
  if (Array.isArray(value)) return value.map((item) => shortenStrings(item, maxTokens / value.length));
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value);
  return Object.fromEntries(members.map(([name, member]) => [name, shortenStrings(member, maxTokens / members.length)]));
}

/** The most that each may have so that all together have at most `total`: what small ones do not need the large ones get. */
function fairShare(sizes: readonly number[], total: number): number {
  let left = total;
  const rising = [...sizes].sort((a, b) => a - b);
  for (const [index, size] of rising.entries()) {
    const share = Math.floor(left / (rising.length - index));
    if (size > share) return share;
    left -= size;
  }
  return Number.POSITIVE_INFINITY;
}
