import type { Usage } from '@nexus-agent/protocol';
import { isTooDeep, NexusError, type SecretValues } from '#core';
import type { Answer, DeltaKind, ModelRequest, ToolSpec } from '#llm/contract';
import { asRecord, type Unread } from './json.ts';
import { type ProviderFailure, providerError } from './provider-error.ts';

export interface StreamContext {
  readonly provider: string;
  readonly model: string;
  readonly onDelta: (kind: DeltaKind, text: string) => void;
  /** What the request offers: calls of the answer are by these names. */
  readonly tools?: readonly ToolSpec[];
  /** Most characters of the answer. Default: {@link answerLimits}. */
  readonly maxAnswerChars?: number;
  /** Called with each piece of what the model wrote to make tool calls: names and arguments. */
  readonly onCallText?: (text: string) => void;
  /** What was sent to the provider and must not come back in its errors. */
  readonly secrets?: SecretValues | undefined;
  /** What the head of the answer says that belongs to an error in its body. */
  readonly answered?: () => Pick<ProviderFailure, 'retryAfterMs' | 'requestId'>;
}

/** Reads one provider stream. `event` throws a NexusError for what cannot be read and for errors that the provider reports. */
export interface StreamDecoder {
  event(name: string, data: string): void;
  /** Reads an answer that came in one piece although a stream was asked for; throws as `event` does. */
  document(body: Unread<Record<string, unknown>>): void;
  /** True once the terminal event was seen: nothing after it matters. */
  isFinished(): boolean;
  /** The answer, when the stream ended as the wire format says it must; throws `provider_stream_cut` otherwise. */
  answer(): Answer;
  /** What has come of an answer that is stopped at its limit. */
  partial(): Answer;
  /** What the provider said it used, so far; null when it did not say. */
  usage(): Usage | null;
  /** Whether that is said of all of the answer that has come, its output included. */
  isAccounted(): boolean;
  /** Whether anything of an answer has come, be it that it begins: the model is at work then. */
  hasBegun(): boolean;
  /** Estimate of the output tokens received so far. */
  streamedTokens(): number;
}

/** A wire format as we speak it to a provider: requests out, stream events in. */
export interface UpstreamDialect {
  /** Path below the base URL. */
  readonly path: string;
  encode(request: ModelRequest, call: { readonly model: string; readonly maxOutputTokens: number }): string;
  decoder(context: StreamContext): StreamDecoder;
}

/** An event of no more characters is not nested too deeply for anybody. */
const maxFlatChars = 1_000;

const longestMark = 20;

/** The data of the event that ends a stream of Chat Completions, and of whatever gateways send like one. */
export function isEndMark(data: string): boolean {
  return data.length <= longestMark && /^"?\[?done\]?"?$/i.test(data.trim());
}

/**
 * JSON that must be an object; null for an event that says nothing, which is a sign of life. Anything else is `provider_malformed`,
 * but for an event that is called `error`: that is the error of the provider.
 */
export function parseEvent<Wire>(context: StreamContext, name: string, data: string): Unread<Wire> | null {
  if (name !== '' && isHeartbeat(name)) return null;
  // Some gateways make an event of a comment. Nearly all are objects, which are neither that nor empty.
  const isObject = data.charCodeAt(0) === 0x7b;
  if (!isObject && (data.trim() === '' || /^\s*:/.test(data) || isHeartbeat(data))) return null;
  if (data.length > maxFlatChars && isTooDeep(data)) throw notUnderstood(context, 'an event that is nested too deeply');
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (cause) {
    if (name === 'error') throw reportedError(context, data);
    throw malformed(context, 'an event that is not JSON', cause);
  }
  if (value === null || (Array.isArray(value) && value.length === 0)) return null;
  const object = asRecord<Wire>(value);
  if (object !== null) return object;
  throw name === 'error' ? reportedError(context, value) : malformed(context, 'an event that is not a JSON object');
}

/** An error that the provider reports in place of an answer, or of the rest of one. */
export function reportedError({ provider, model, answered, secrets }: StreamContext, body: unknown): NexusError {
  return providerError({ provider, model, secrets, body: typeof body === 'string' ? { message: body } : body, ...answered?.() });
}

function isHeartbeat(word: string): boolean {
  return word.length <= longestMark && /^\s*(ping|pong|heart-?beat|keep-?alive)\s*$/i.test(word);
}

function malformed(context: StreamContext, what: string, cause?: unknown): NexusError {
  return new NexusError('provider_malformed', `${context.provider} sent ${what}`, {
    details: { provider: context.provider, model: context.model },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** For what the same request would get again: such an answer is paid, and not asked for twice. */
export function notUnderstood({ provider, model }: StreamContext, what: string): NexusError {
  return new NexusError('provider_malformed', `${provider} sent ${what}; the answer cannot be used`, {
    details: { provider, model },
    retryable: false,
  });
}

export function streamCut(context: StreamContext, what = 'before its terminal event'): NexusError {
  return new NexusError('provider_stream_cut', `${context.provider} ended its stream ${what}; the answer is not complete`, {
    details: { provider: context.provider, model: context.model },
  });
}

/** A tool call's arguments for the way back; what is no object travels in one, as providers insist on it. */
export function toolInput(part: { readonly input: unknown; readonly invalidInput?: string | undefined }): Record<string, unknown> {
  if (part.invalidInput !== undefined) return { invalid_json: part.invalidInput };
  if (part.input === undefined || part.input === null) return {};
  return asRecord(part.input) ?? { value: part.input };
}
