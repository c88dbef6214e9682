import type { Message } from '@nexus-agent/protocol';
import { estimateMessageTokens, estimateTextTokens, type ModelRequest } from '#llm';
import type { Summary } from '#runs/journal';
import { joinSummary, splitSummary } from './kept-effects.ts';
import { shortenText } from './shorten.ts';

export interface CompactionSettings {
  /** Part of a model's context that a request may fill before old turns are summarised. */
  readonly compactAt: number;
  /** Most tokens of a summary; undefined: by the size of the model. */
  readonly summaryTokens?: number | undefined;
  /** Part of the room of a conversation that is filled when old turns were summarised, summary included. */
  readonly keepShare: number;
}

/** How a conversation is fitted into a model, in tokens by our estimate. */
export interface FitSizes {
  /** Most that instructions, tools and conversation have together. */
  readonly limitTokens: number;
  /** What of it is left for the conversation. */
  readonly roomTokens: number;
  /** What the newest message may fill that cannot be left out: more than the usual room, at the cost of a shorter answer. */
  readonly newestTokens: number;
  /** Most tokens that a summary is asked to have. */
  readonly summaryTokens: number;
  /** What a summary may fill of the room: less when it must, never less than `leastSummary`. */
  readonly mostSummary: number;
  readonly leastSummary: number;
  /** What of it the calls may fill that are kept word for word. */
  readonly keptTokens: number;
  /** What the conversation is brought down to. */
  readonly keepTokens: number;
  /** Most that a request for a summary reads, beside its instructions. */
  readonly readTokens: number;
}

const instructions = `You compress conversations between a user, an assistant and its tools so that the assistant can go on with less text.
Write down, in plain sentences: what the user wants (the newest request word for word), what was decided and why, every fact, number, name,
file and identifier that may still matter, what each tool call found, and what is left to do. Add nothing. Leave out greetings.`;

const largeSummaryTokens = 8_000;
const usualSummaryTokens = 1_500;

/**
 * The sizes for a model of this context: all of them are parts of it, so that a small model keeps as much of its conversation, in
 * proportion, as a large one.
 *
 * @param overheadTokens of instructions and tools, which every request carries
 */
export function fitSizes(contextTokens: number, maxOutputTokens: number, overheadTokens: number, settings: CompactionSettings): FitSizes {
  const usable = Math.floor(contextTokens * settings.compactAt);
  const most = contextTokens - Math.min(maxOutputTokens, Math.floor(contextTokens / 8));
  const usual = usable - Math.min(maxOutputTokens, Math.floor(contextTokens / 4));
  // Where instructions and tools take most of it, answers have to be short.
  const limitTokens = overheadTokens > usual / 2 ? most : usual;
  const roomTokens = limitTokens - overheadTokens;
  const scaled = Math.min(largeSummaryTokens, Math.max(Math.floor(limitTokens / 40), usualSummaryTokens));
  // Our estimate of a text is about twice its tokens.
  const summaryTokens = Math.max(16, Math.min(settings.summaryTokens ?? scaled, Math.floor(roomTokens / 6)));
  return {
    limitTokens,
    roomTokens,
    newestTokens: most - overheadTokens,
    summaryTokens,
    mostSummary: Math.floor(roomTokens / 3),
    leastSummary: Math.floor(roomTokens / 8),
    keptTokens: Math.floor(roomTokens / 12),
    keepTokens: Math.floor(roomTokens * settings.keepShare),
    readTokens: usable - sizeOf(instructions) - summaryTokens,
  };
}

export type CompactionPlan =
  /** It fits, with a summary (if there is one) of at most so many tokens. */
  | { readonly type: 'none'; readonly summaryTokens: number }
  | {
      readonly type: 'summarise';
      readonly request: Pick<ModelRequest, 'system' | 'messages' | 'tools' | 'maxOutputTokens'>;
      readonly replaces: number;
      /** The messages that the summary is to stand for, beside those of the one before. */
      readonly messages: readonly Message[];
    }
  /** What cannot be left out, the newest message or the newest calls with their results, is larger than what is left for it. */
  | { readonly type: 'impossible'; readonly neededTokens: number; readonly leftTokens: number };

/**
 * Decides whether old turns must be summarised before a call, and which. Turns are only split where no tool result is
 * parted from its call; the newest turns stay as they are; one call never reads more than the model takes, so a very
 * long history is summarised in several calls, oldest first, and what is too long by itself is read with its middle left out.
 */
export function planCompaction(all: readonly Message[], summary: Summary | null, sizes: FitSizes): CompactionPlan {
  const start = Math.min(summary?.replaces ?? 0, all.length);
  const rest: number[] = [0]; // of the newest messages, by how many
  let sum = 0;
  for (const message of all.slice(start).reverse()) {
    sum += aroundMessage + estimateMessageTokens(message);
    rest.push(sum);
  }
  const from = (index: number) => rest[all.length - index] ?? 0;
  const summarySize = summary === null ? 0 : Math.min(sizeOf(summary.text), sizes.mostSummary);
  const { roomTokens } = sizes;
  if (summarySize + from(start) <= roomTokens) return { type: 'none', summaryTokens: sizes.mostSummary - aroundTokens };

  const boundaries: number[] = [];
  for (let index = start + 1; index < all.length; index++) if (all[index]?.role !== 'tool') boundaries.push(index);
  const last = boundaries.at(-1);
  const neededTokens = from(last ?? start);
  // Something is or will be summarised, unless this is all there is.
  const leftTokens = sizes.newestTokens - (last === undefined && summary === null ? 0 : sizes.leastSummary);
  if (neededTokens > leftTokens) return { type: 'impossible', neededTokens, leftTokens };
  const [first] = boundaries;
  if (first === undefined)
    return { type: 'none', summaryTokens: Math.max(0, Math.min(sizes.mostSummary, sizes.newestTokens - neededTokens) - aroundTokens) };

  const readable = sizes.readTokens - summarySize;
  const fitting = boundaries.filter((index) => from(start) - from(index) <= readable);
  const enough = fitting.find((index) => sizes.summaryTokens + from(index) <= sizes.keepTokens);
  const replaces = enough ?? fitting.at(-1) ?? first;
  const messages = all.slice(start, replaces);
  return { type: 'summarise', replaces, messages, request: summaryRequest(messages, summary, sizes) };
}

function summaryRequest(messages: readonly Message[], summary: Summary | null, sizes: FitSizes) {
  const told = summary === null ? [] : [`Summary of what came before:\n${shortenSummary(summary.text, sizes.mostSummary)}`];
  const left = Math.max(64, sizes.readTokens - told.reduce((sum, text) => sum + sizeOf(text), 0));
  const texts = messages.map(render).join('\n\n');
  const note = (cut: number) => `[… ${cut} of ${texts.length} characters, which do not fit, are left out here …]`;
  const text = [...told, shortenText(texts, left, note)].join('\n\n');
  return { system: instructions, messages: [textMessage(text)], tools: [], maxOutputTokens: sizes.summaryTokens };
}

/** A summary that is longer than it may be loses of what its model wrote before it loses of the calls that are kept in it. */
export function shortenSummary(text: string, maxTokens: number): string {
  const note = (cut: number) => `[… ${cut} characters of the summary are left out …]`;
  if (estimateTextTokens(text) <= maxTokens) return text;
  const { said, kept } = splitSummary(text);
  const left = maxTokens - estimateTextTokens(kept) - 2;
  return kept === '' || left < 32 ? shortenText(text, maxTokens, note) : joinSummary(shortenText(said, left, note), kept);
}

/** What a message is counted for beside its own tokens. */
const aroundMessage = 16;
/** What a message has around its text, and what is said of a summary before it. */
const aroundTokens = 64;

function sizeOf(text: string): number {
  return estimateTextTokens(text) + aroundTokens;
}

function textMessage(text: string): Message {
  return { role: 'user', content: [{ type: 'text', text }] };
}

function render(message: Message): string {
  switch (message.role) {
    case 'user':
      return `User: ${message.content.map((part) => (part.type === 'text' ? part.text : '[image]')).join('\n')}`;
    case 'assistant':
      return `Assistant: ${message.content
        .map((part) => {
          if (part.type === 'text') return part.text;
          return part.type === 'tool_call' ? `[calls ${part.name} with ${JSON.stringify(part.input)}]` : '';
        })
        .join('\n')}`;
    case 'tool':
      return message.content.map((part) => `Tool ${part.name}${part.isError ? ' (failed)' : ''}: ${part.output}`).join('\n');
  }
}
