import type { Usage } from '@nexus-agent/protocol';
import { asCount, asRecord } from './json.ts';

type Members = Readonly<Record<string, unknown>>;

/** An account of what was used, in the words of either format; null for what is none, or half of one: it would bill too little. */
export function readUsage(value: unknown): Usage | null {
  const usage = asRecord(value);
  if (usage === null) return null;
  const read = usage.prompt_tokens == null && usage.completion_tokens == null ? readMessagesUsage(usage) : readChatUsage(usage);
  return read === null || read.inputTokens === 0 ? null : read;
}

/** The account that stands when a stream gives several: its counts only grow, and one that says less of something is not of all of it. */
export function laterUsage(earlier: Usage | null, later: Usage | null): Usage | null {
  if (earlier === null || later === null) return later ?? earlier;
  const { inputTokens, cacheReadTokens, cacheWriteTokens } = later.inputTokens >= earlier.inputTokens ? later : earlier;
  const { outputTokens, reasoningTokens } = later.outputTokens >= earlier.outputTokens ? later : earlier;
  return { inputTokens, cacheReadTokens, cacheWriteTokens, outputTokens, reasoningTokens };
}

/** Tells whether the accounts of a stream are of the whole answer, or of a part of it: its beginning, or each piece by itself. */
export class AccountedPieces {
  #outputTokens: number | null = null;
  #pieces = 0;
  /** Pieces came, and the count did not grow with them. Once may be: what a server held back belongs to what it had counted. */
  #stalls = 0;

  /** @param pieces so many pieces of the answer had come with the account, or before it */
  told(outputTokens: number, pieces: number): void {
    const before = this.#outputTokens;
    if (before !== null && pieces > this.#pieces && outputTokens <= before) this.#stalls += outputTokens < before ? mostStalls + 1 : 1;
    this.#outputTokens = Math.max(before ?? 0, outputTokens);
    this.#pieces = pieces;
  }

  /** @param pieces so many have come by now */
  areWhole(pieces: number): boolean {
    if (this.#outputTokens === null || pieces > this.#pieces) return false;
    return this.#stalls <= mostStalls && (this.#outputTokens > 0 || pieces === 0);
  }
}

const mostStalls = 1;

function readChatUsage(usage: Members): Usage | null {
  const total = asCount(usage.total_tokens);
  const prompt = asCount(usage.prompt_tokens ?? rest(total, usage.completion_tokens));
  const completion = asCount(usage.completion_tokens ?? rest(total, usage.prompt_tokens));
  if (prompt === undefined || completion === undefined) return null;
  const inputDetails = asRecord(usage.prompt_tokens_details) ?? {};
  const outputDetails = asRecord(usage.completion_tokens_details) ?? {};
  const reasoning = asCount(outputDetails.reasoning_tokens) ?? 0;
  // Some servers leave reasoning out of completion_tokens: it is more than them, or the total shows it, by itself with some (Gemini).
  const outputTokens = Math.max(completion, (total ?? 0) - prompt, reasoning > completion ? completion + reasoning : 0);
  // Gateways to Anthropic's models keep its names, and some leave the cache out of the prompt as it does.
  const [readApart, writtenApart] = [asCount(usage.cache_read_input_tokens) ?? 0, asCount(usage.cache_creation_input_tokens) ?? 0];
  const inputTokens = readApart + writtenApart > prompt ? prompt + readApart + writtenApart : prompt;
  const read = asCount(inputDetails.cached_tokens) ?? asCount(usage.prompt_cache_hit_tokens) ?? readApart;
  const written = asCount(inputDetails.cache_write_tokens) ?? asCount(inputDetails.cache_creation_tokens) ?? writtenApart;
  const cacheReadTokens = Math.min(inputTokens, read);
  const cacheWriteTokens = Math.min(inputTokens - cacheReadTokens, written);
  return {
    inputTokens,
    outputTokens,
    cacheReadTokens,
    cacheWriteTokens,
    reasoningTokens: Math.min(reasoning, outputTokens),
  };
}

/** What is left of a total: a count that a server did not write down. */
function rest(total: number | undefined, part: unknown): number | undefined {
  const known = asCount(part);
  return total === undefined || known === undefined ? undefined : total - known;
}

function readMessagesUsage(usage: Members): Usage | null {
  const input = asCount(usage.input_tokens);
  const outputTokens = asCount(usage.output_tokens);
  if (input === undefined || outputTokens === undefined) return null;
  const outputDetails = asRecord(usage.output_tokens_details) ?? {};
  const reasoningTokens = Math.min(outputTokens, asCount(outputDetails.thinking_tokens) ?? asCount(outputDetails.reasoning_tokens) ?? 0);
  const within = asRecord(usage.input_tokens_details);
  if (within !== null) {
    // Where the cache is a detail of the input, the input counts it already.
    const cacheReadTokens = Math.min(input, asCount(within.cached_tokens) ?? 0);
    return { inputTokens: input, outputTokens, cacheReadTokens, cacheWriteTokens: 0, reasoningTokens };
  }
  const cacheReadTokens = asCount(usage.cache_read_input_tokens) ?? 0;
  const cacheWriteTokens = asCount(usage.cache_creation_input_tokens) ?? 0;
  return { inputTokens: input + cacheReadTokens + cacheWriteTokens, outputTokens, cacheReadTokens, cacheWriteTokens, reasoningTokens };
}
