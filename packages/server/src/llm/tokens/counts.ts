import type { Message } from '@nexus-agent/protocol';
import { createCountedCache, sha256 } from '#core';
import type { ModelInput, ModelTarget } from '#llm/contract';
import { boundFrameTokens, boundMessageTokens, withdrawnTools } from './bound.ts';
import { leastInputTokens, leastMessageTokens } from './least.ts';

type CountedTarget = Pick<ModelTarget, 'provider' | 'model' | 'contextTokens' | 'imageTokens' | 'templateTokens'>;

/** Whose request it is, and what is asked. */
export interface CountedRequest {
  /** What one tenant's accounts say bounds no other's requests. */
  readonly tenantId: string;
  readonly target: CountedTarget;
  readonly request: ModelInput;
}

/** What a server's own words in a request may differ by from one call to the next: a date, a name. */
const slackTokens = 16;
const maxFrames = 1_000;
const maxConversations = 20_000;
/** A count of a request that had so many messages less says little more than the bytes of all. */
const mostSince = 32;

/**
 * Upper bounds for the input of model calls, which come down by what is learned. A count of a whole request, by the provider
 * that answered it or by a tokenizer, holds for the same words in the next request: a turn is bounded by the count of the one
 * before it and the bytes of what came since, and the instructions and tools of another conversation by what a count leaves when
 * the least that its messages can have is taken off.
 *
 * Nothing is kept of what was said but hashes: of the newest {@link maxConversations} requests, and of the instructions and tools
 * of {@link maxFrames}.
 */
export class InputCounts {
  /** Tokens of whole requests, by target, frame and conversation. */
  readonly #requests = createCountedCache<string, number>(maxConversations);
  /** Tokens of everything but the messages, by target and frame. */
  readonly #frames = createCountedCache<string, number>(maxFrames);
  /** What a server has charged beyond the bound of the words that it was sent, by target; with images it may be for them. */
  readonly #surpluses = createCountedCache<string, number>(maxFrames);
  readonly #schemaNames = new WeakMap<object, string>();
  readonly #chain = new MessageChain();

  /** The most tokens that the input of a request can have at a target. */
  bound({ tenantId, target, request }: CountedRequest): number {
    const asked = this.#nameOf({ tenantId, target, request });
    const { messages } = request;
    const framed = boundFrameTokens(target, request) + this.#surplusOf({ tenantId, target, request });
    const frame = Math.min(framed, this.#frames.get(asked) ?? Number.POSITIVE_INFINITY);
    const names = this.#chain.namesOf(messages);
    let least = Number.POSITIVE_INFINITY;
    let since = 0;
    for (let length = messages.length; length > 0; length--) {
      // Of the longest beginning that was counted: the bytes of what came since are no less than its tokens, so that a shorter one says no more.
      if (least === Number.POSITIVE_INFINITY && length + mostSince > messages.length)
        least = (this.#requests.get(asked + names[length - 1]) ?? least) + since;
      const message = messages[length - 1];
      if (message !== undefined) since += boundMessageTokens(target, message);
    }
    return Math.min(least, frame + since);
  }

  /** Whether a count of the whole request is known already. */
  isCounted(counted: CountedRequest): boolean {
    const last = this.#chain.namesOf(counted.request.messages).at(-1);
    return last !== undefined && this.#requests.has(this.#nameOf(counted) + last);
  }

  /**
   * Learns how many tokens a request has at a target: what its provider charged for, or what a counter said. A count below what
   * the words have at least says nothing, neither of them nor of others.
   */
  learn({ tenantId, target, request }: CountedRequest, counted: number): void {
    if (counted < leastInputTokens(request)) return;
    const asked = this.#nameOf({ tenantId, target, request });
    const { messages } = request;
    const tokens = counted + slackTokens;
    const last = this.#chain.namesOf(messages).at(-1);
    if (last !== undefined) this.#requests.set(asked + last, tokens);
    let rest = tokens;
    /** What the instructions and tools have at least by this count. */
    let leastRest = counted;
    for (const message of messages) {
      rest -= leastMessageTokens(message);
      leastRest -= boundMessageTokens(target, message);
    }
    this.#learnSurplus({ tenantId, target, request }, leastRest - boundFrameTokens(target, request));
    const known = this.#frames.get(asked);
    // A count that shows an earlier one to have been too low stands in its place.
    this.#frames.set(asked, known === undefined || rest < known || leastRest > known ? Math.max(0, rest) : known);
  }

  /** Servers that put words of their own into requests go on doing so. Less than before is a sign that they do less. */
  #learnSurplus(counted: CountedRequest, excess: number): void {
    const [name] = surplusNames(counted);
    const known = this.#surpluses.get(name) ?? 0;
    const surplus = Math.min(counted.target.contextTokens, Math.max(excess, Math.floor(known / 2)));
    if (surplus > 0 || known > 0) this.#surpluses.set(name, surplus);
  }

  #surplusOf(counted: CountedRequest): number {
    return Math.max(...surplusNames(counted).map((name) => this.#surpluses.get(name) ?? 0));
  }

  /** A name for a tenant, a target and the instructions, tools and schema of a request: equal ones have the same. */
  #nameOf({ tenantId, target, request }: CountedRequest): string {
    const { system, tools, outputSchema } = request;
    const parts = [tenantId, target.provider, target.model, system, ...withdrawnTools(request)];
    for (const { name, description, inputSchema } of tools) parts.push(name, description, this.#schemaName(inputSchema));
    if (outputSchema !== undefined) parts.push(this.#schemaName(outputSchema));
    return sha256(JSON.stringify(parts));
  }

  #schemaName(schema: object): string {
    let name = this.#schemaNames.get(schema);
    if (name === undefined) {
      name = sha256(JSON.stringify(schema));
      this.#schemaNames.set(schema, name);
    }
    return name;
  }
}

/** What was learned with images holds for requests with images, what was learned without for all. */
function surplusNames({ tenantId, target: { provider, model }, request: { messages } }: CountedRequest): [string, ...string[]] {
  const plain = `${tenantId} ${provider}/${model}`;
  const hasImages = messages.some(({ content }) => content.some(({ type }) => type === 'image'));
  return hasImages ? [`${plain} with images`, plain] : [plain];
}

/** Names for the beginnings of conversations, as a hash of what was said and of the name before it. Each message is read once. */
class MessageChain {
  readonly #known = new WeakMap<Message, { readonly after: string; readonly name: string }>();

  /** For each message the name of the conversation up to it. */
  namesOf(messages: readonly Message[]): readonly string[] {
    let after = '';
    return messages.map((message) => {
      let known = this.#known.get(message);
      if (known?.after !== after) {
        known = { after, name: sha256(after + JSON.stringify(message)) };
        this.#known.set(message, known);
      }
      after = known.name;
      return after;
    });
  }
}
