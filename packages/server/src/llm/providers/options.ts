import type { Clock, SecretValues } from '#core';
import type { ModelPrice } from '#llm/contract';
import type { RequestFeature } from '#llm/dialects';
import type { Discovery } from '#llm/transport';

export interface ProviderTimeouts {
  readonly connectTimeoutMs?: number;
  /** Longest wait for the first byte of an answer. Default: the deadline of the call. */
  readonly firstByteTimeoutMs?: number;
  /** Longest pause within a stream. */
  readonly idleTimeoutMs?: number;
}

/** What every provider may be told. */
export interface CommonProviderOptions {
  /** The name in `name/model`. */
  readonly name?: string;
  readonly clock: Clock;
  /** What must not come back in errors and lists of the provider. */
  readonly secrets?: SecretValues | undefined;
  /** The models to offer; absent: what the server lists. Others can still be named in full. */
  readonly models?: readonly string[];
  readonly timeouts?: ProviderTimeouts;
  /** Most characters of an answer: texts, thoughts and calls together. Default 2,000,000. */
  readonly maxAnswerChars?: number;
  /** `http://[user:password@]host[:port]`, or https: the proxy through which the provider is reached. */
  readonly proxy?: string;
  /** Sent with every request, for gateways in between. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Asks for the server's list of models at once, for their sizes; with `all`, what it lacks is not served. */
  readonly discovers?: Discovery;
  /** Whether a model may write tokens that are billed and not streamed; undefined: as is known of it. */
  readonly thinksUnseen?: (model: string) => boolean | undefined;
  /** A feature of requests was refused by the server and is done without from now on. */
  readonly onOmitted?: (model: string, features: readonly RequestFeature[]) => void;
  /** What the server does not take of requests for a model; what is not said is found out by its first refusal. */
  readonly omit?: (model: string) => readonly RequestFeature[];
}

/** What of a request makes it cost something else than the price list says. */
const pricedApart = ['service_tier', 'web_search_options', 'plugins'];

/** Whether prices of the list hold for requests with these members. */
export function isListPriced(extraBody: Readonly<Record<string, unknown>> = {}): boolean {
  return pricedApart.every((name) => extraBody[name] === undefined || (name === 'service_tier' && isOrdinaryTier(extraBody[name])));
}

function isOrdinaryTier(tier: unknown): boolean {
  return tier === 'default' || tier === 'flex';
}

/** OpenAI and Anthropic charge a request of one word with less than ten tokens. */
export const hostedTemplateTokens = 32;

/** Whether an address is of the provider itself: what stands under its name elsewhere may serve any model, with a template of its own. */
export function isHosted(baseUrl: string, ownUrl: string): boolean {
  return URL.parse(baseUrl)?.host === URL.parse(ownUrl)?.host;
}

export const freePrice: ModelPrice = {
  inputMicroUsdPerMillion: 0,
  outputMicroUsdPerMillion: 0,
  cacheReadMicroUsdPerMillion: 0,
  cacheWriteMicroUsdPerMillion: 0,
};
