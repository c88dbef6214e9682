import type { Message } from '@nexus-agent/protocol';
import { createCountedCache, sha256 } from '#core';
import type { ModelInput, ModelTarget } from '#llm/contract';
import { boundFrameTokens, boundMessageTokens } from './bound.ts';
import { leastInputTokens, leastMessageTokens } from './least.ts';

export type CountedTarget = Pick<ModelTarget, 'provider' | 'model' | 'imageTokens' | 'templateTokens'>;

/** What a server's own words in a request may differ by from one call to the next: a date, a name. */
const slackTokens = 16;
const maxFrames = 1_000;
const maxCountsPerMessage = 8;

/** A count of everything up to the message that it is kept with. */
interface PrefixCount {
  readonly target: string;
  readonly frame: string;
  /** The conversation begins with it, and had so many messages. */
  readonly first: Message;
  readonly length: number;
  readonly tokens: number;
}

/**
 * Upper bounds for the input of model calls, which come down by what is learned. A count of a whole request, by the provider
 * that answered it or by a tokenizer, holds for the same words in the next request: a turn is bounded by the count of the one
 * before it and the bytes of what came since, and the instructions and tools of another conversation by what a count leaves when
 * the least that its messages can have is taken off.
 *
 * Counts are kept as long as their messages; those of instructions and tools for the newest {@link maxFrames}. Nothing is kept of
 * what was said.
 */
export class InputCounts {
  readonly #prefixes = new WeakMap<Message, PrefixCount[]>();
  readonly #frames = createCountedCache<string, number>(maxFrames);
  readonly #frameNames = new WeakMap<object, string>();

  /** The most tokens that the input of a request can have at a target. */
  bound(target: CountedTarget, request: ModelInput): number {
    const name = targetName(target);
    const frame = this.#frameOf(request);
    const { messages } = request;
    let since = 0;
    for (let length = messages.length; length > 0; length--) {
      const message = messages[length - 1];
      if (message === undefined) break;
      const counted = this.#prefixes
        .get(message)
        ?.find((count) => count.target === name && count.frame === frame && count.length === length && count.first === messages[0]);
      if (counted !== undefined)
        return Math.min(counted.tokens + since, this.#boundFrame(target, frame, request) + boundAll(target, messages));
      since += boundMessageTokens(target, message);
    }
    return this.#boundFrame(target, frame, request) + since;
  }

  /**
   * Learns how many tokens a request has at a target: what its provider charged for, or what a counter said. A count below what
   * the words have at least is raised to that.
   */
  learn(target: CountedTarget, request: ModelInput, counted: number): void {
    const name = targetName(target);
    const frame = this.#frameOf(request);
    const { messages } = request;
    const tokens = Math.max(counted, leastInputTokens(request)) + slackTokens;
    const [first] = messages;
    const last = messages.at(-1);
    if (first === undefined || last === undefined) return;
    const { length } = messages;
    const counts = this.#prefixes.get(last) ?? [];
    const others = counts.filter((count) => count.target !== name || count.frame !== frame || count.length !== length);
    this.#prefixes.set(last, [...others.slice(1 - maxCountsPerMessage), { target: name, frame, first, length, tokens }]);
    let rest = tokens;
    for (const message of messages) rest -= leastMessageTokens(message);
    const key = `${name}\n${frame}`;
    const known = this.#frames.get(key);
    if (known === undefined || rest < known) this.#frames.set(key, Math.max(0, rest));
  }

  #boundFrame(target: CountedTarget, frame: string, request: ModelInput): number {
    const counted = this.#frames.get(`${targetName(target)}\n${frame}`);
    return Math.min(boundFrameTokens(target, request), counted ?? Number.POSITIVE_INFINITY);
  }

  /** A name for the instructions, tools and schema of a request: equal ones have the same. */
  #frameOf({ system, tools, outputSchema }: ModelInput): string {
    const parts = [system];
    for (const { name, description, inputSchema } of tools) parts.push(name, description, this.#schemaName(inputSchema));
    if (outputSchema !== undefined) parts.push(this.#schemaName(outputSchema));
    return sha256(JSON.stringify(parts));
  }

  #schemaName(schema: object): string {
    let name = this.#frameNames.get(schema);
    if (name === undefined) {
      name = sha256(JSON.stringify(schema));
      this.#frameNames.set(schema, name);
    }
    return name;
  }
}

function targetName({ provider, model }: CountedTarget): string {
  return `${provider}/${model}`;
}

function boundAll(target: CountedTarget, messages: readonly Message[]): number {
  let tokens = 0;
  for (const message of messages) tokens += boundMessageTokens(target, message);
  return tokens;
}
