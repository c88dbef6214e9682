import type { Usage } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Answer, DeltaKind, ModelRequest } from '#llm/contract';
import { asRecord, type Unread } from './json.ts';

export interface StreamContext {
  readonly provider: string;
  readonly model: string;
  readonly onDelta: (kind: DeltaKind, text: string) => void;
}

/** Reads one provider stream. `event` throws a NexusError for what cannot be read and for errors that the provider reports. */
export interface StreamDecoder {
  event(name: string, data: string): void;
  /** True once the terminal event was seen: nothing after it matters. */
  readonly finished: boolean;
  /** The answer, when the stream ended as the wire format says it must; throws `provider_stream_cut` otherwise. */
  answer(): Answer;
  /** What the provider said it used, so far; null when it did not say. */
  usage(): Usage | null;
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

/** JSON that must be an object; anything else is `provider_malformed`. */
export function parseEvent<Wire>(context: StreamContext, data: string): Unread<Wire> {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (cause) {
    throw malformed(context, 'an event that is not JSON', cause);
  }
  const object = asRecord<Wire>(value);
  if (object === null) throw malformed(context, 'an event that is not a JSON object');
  return object;
}

export function malformed(context: StreamContext, what: string, cause?: unknown): NexusError {
  return new NexusError('provider_malformed', `${context.provider} sent ${what}`, {
    details: { provider: context.provider, model: context.model },
    ...(cause === undefined ? {} : { cause }),
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
