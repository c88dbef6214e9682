import { StringDecoder } from 'node:string_decoder';
import { createSseDecoder, SseTooLargeError, type Usage } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { DeltaKind } from './assembler.ts';
import { type Answer, asRecord, asString, type Codec } from './codecs/codec.ts';
import { createTransport } from './transport.ts';
import type { ModelPrice, ModelRequest } from './types.ts';

export interface ProviderCall {
  readonly model: string;
  readonly request: ModelRequest;
  readonly maxOutputTokens: number;
  /** Deadline of the whole call. */
  readonly timeoutMs: number;
  readonly traceparent?: string;
}

/** What is known of a call so far. */
export interface Progress {
  /** The request reached the wire: the provider may charge for it. */
  readonly sent: boolean;
  /** From the provider; null when it did not say. */
  readonly usage: Usage | null;
  /** Upper estimate of the output tokens received. */
  readonly streamedTokens: number;
}

/** Called in order: deltas, then exactly one of `done` and `failed`; nothing after `abort`. */
export interface ProviderEvents {
  delta(kind: DeltaKind, text: string): void;
  done(answer: Answer): void;
  failed(error: NexusError): void;
}

export interface ProviderStream {
  pause(): void;
  resume(): void;
  /** Ends the upstream request at once. */
  abort(): void;
  progress(): Progress;
}

/** A place that serves models. One call is one attempt: retry and fallback are the service's. */
export interface Provider {
  readonly name: string;
  readonly simulator: boolean;
  /** Name of the provider in the price catalogue; null when none of its prices apply. */
  readonly catalogue: string | null;
  /** A price that holds whatever the catalogue says. */
  fixedPrice(model: string): ModelPrice | null;
  /** Whether a bare model name (without the provider's) means this provider, as far as that can be told without asking it. */
  claims(model: string): boolean;
  /** Whether the list of {@link models} has the model. Never throws. */
  lists(model: string): Promise<boolean>;
  /** Names of models for people to choose from; others may work too. Never throws. */
  models(): Promise<readonly string[]>;
  limits(model: string): { readonly contextTokens?: number; readonly maxOutputTokens?: number };
  open(call: ProviderCall, events: ProviderEvents): ProviderStream;
  close(): Promise<void>;
}

export interface HttpProviderOptions {
  readonly name: string;
  readonly simulator: boolean;
  readonly catalogue: string | null;
  readonly fixedPrice?: (model: string) => ModelPrice | null;
  readonly baseUrl: string;
  readonly codec: Codec;
  /** Headers of every request; the credentials are among them. */
  readonly headers: Readonly<Record<string, string>>;
  /** Configured models. When absent, the server's own list is asked for and kept for a minute. */
  readonly modelNames?: readonly string[];
  /** Bare names that mean this provider although no list names them. */
  readonly claimPattern?: RegExp;
  /** For references that carry more than the model's listed name. */
  readonly listedName?: (model: string) => string;
  readonly contextTokens?: number;
  readonly maxOutputTokens?: number;
  readonly timeouts?: { readonly connectTimeoutMs?: number; readonly firstByteTimeoutMs?: number; readonly idleTimeoutMs?: number };
  readonly clock: Clock;
}

/** What an answer may take on the wire, with every token in an event of its own: more is not the answer that was asked for. */
const baseAnswerBytes = 2_000_000;
const bytesPerToken = 1_024;
/** Longest line, and longest data of one event, of an answer. */
const maxEventChars = 4_000_000;
const listTtlMs = 60_000;
const listTimeoutMs = 3_000;

/** A provider that is reached over HTTP in one wire format. */
export function createHttpProvider(options: HttpProviderOptions): Provider {
  const { name, codec, clock } = options;
  const transport = createTransport({ provider: name, baseUrl: options.baseUrl, clock, ...options.timeouts });
  const listedName = options.listedName ?? ((model: string) => model);
  let listed: { readonly names: Promise<readonly string[]>; readonly atMs: number } | null = null;

  async function models(): Promise<readonly string[]> {
    if (options.modelNames !== undefined) return options.modelNames;
    if (listed === null || clock.monotonic() - listed.atMs > listTtlMs) {
      const names = transport.getJson('/models', { headers: options.headers, timeoutMs: listTimeoutMs }).then(readModelList, () => []);
      listed = { names, atMs: clock.monotonic() };
    }
    return listed.names;
  }

  return {
    name,
    simulator: options.simulator,
    catalogue: options.catalogue,
    fixedPrice: options.fixedPrice ?? (() => null),
    models,
    claims: (model) => options.claimPattern?.test(model) === true || options.modelNames?.includes(listedName(model)) === true,
    async lists(model) {
      return (await models()).includes(listedName(model));
    },
    limits: () => ({
      ...(options.contextTokens === undefined ? {} : { contextTokens: options.contextTokens }),
      ...(options.maxOutputTokens === undefined ? {} : { maxOutputTokens: options.maxOutputTokens }),
    }),
    open(call, events) {
      const { model, request, maxOutputTokens, timeoutMs, traceparent } = call;
      let pendingKind: DeltaKind = 'text';
      let pending = '';
      let sent = false;
      let received = 0;
      const maxBytes = baseAnswerBytes + maxOutputTokens * bytesPerToken;
      // Deltas of one network chunk are passed on as one: fewer wake-ups, same text.
      const flush = () => {
        if (pending === '') return;
        const text = pending;
        pending = '';
        events.delta(pendingKind, text);
      };
      const decoder = codec.decoder({
        provider: name,
        model,
        onDelta(kind, text) {
          if (kind !== pendingKind) {
            flush();
            pendingKind = kind;
          }
          pending += text;
        },
      });
      const utf8 = new StringDecoder('utf8'); // quicker with small pieces than the decoder's own way
      const sse = createSseDecoder({
        maxEventChars,
        decodeUtf8: (bytes) => utf8.write(bytes),
        onEvent: (event, data) => decoder.event(event, data),
      });
      const transportCall = transport.stream(
        {
          path: codec.path,
          model,
          timeoutMs,
          headers: {
            ...options.headers,
            'idempotency-key': request.idempotencyKey,
            ...(traceparent === undefined ? {} : { traceparent }),
          },
          body: codec.encode(request, { model, maxOutputTokens }),
        },
        {
          sent() {
            sent = true;
          },
          data(chunk) {
            received += chunk.length;
            if (received > maxBytes) {
              throw new NexusError(
                'provider_malformed',
                `${name} goes on after ${maxBytes} bytes of an answer of ${maxOutputTokens} tokens`,
                {
                  details: { provider: name, model },
                },
              );
            }
            try {
              sse.push(chunk);
            } catch (error) {
              throw error instanceof SseTooLargeError ? tooLarge(name, model, error) : error;
            } finally {
              flush();
            }
            if (decoder.finished) {
              const answer = decoder.answer();
              transportCall.detach();
              events.done(answer);
            }
          },
          end: () => events.done(decoder.answer()),
          error: (error) => events.failed(error),
        },
      );
      return {
        pause: () => transportCall.pause(),
        resume: () => transportCall.resume(),
        abort: () => transportCall.abort(),
        progress: () => ({ sent, usage: decoder.usage(), streamedTokens: decoder.streamedTokens() }),
      };
    },
    close: () => transport.close(),
  };
}

function tooLarge(provider: string, model: string, cause: SseTooLargeError): NexusError {
  return new NexusError('provider_malformed', `${provider} sent an event of more than ${cause.maxEventChars} characters`, {
    details: { provider, model },
    cause,
  });
}

function readModelList(body: unknown): readonly string[] {
  const data = asRecord(body)?.data;
  return (Array.isArray(data) ? data : []).map((item) => asString(asRecord(item)?.id)).filter((id) => id !== '');
}
