import { StringDecoder } from 'node:string_decoder';
import { createSseDecoder, SseTooLargeError } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { Provider, ProviderCall, ProviderEvents, ProviderStream } from '#llm/attempt';
import type { DeltaKind, ModelPrice } from '#llm/contract';
import { asRecord, asString, type UpstreamDialect } from '#llm/dialects';
import { createTransport, type Transport } from './http.ts';

export interface HttpProviderOptions {
  readonly name: string;
  readonly simulator: boolean;
  readonly catalogue: string | null;
  readonly fixedPrice?: (model: string) => ModelPrice | null;
  readonly baseUrl: string;
  readonly proxy?: string;
  readonly dialect: UpstreamDialect;
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
  const { name, clock } = options;
  const proxy = options.proxy === undefined ? {} : { proxy: options.proxy };
  const transport = createTransport({ provider: name, baseUrl: options.baseUrl, clock, ...proxy, ...options.timeouts });
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
    open: (call, events) => openCall(transport, options, call, events),
    close: () => transport.close(),
  };
}

/** Sends a request, and turns the bytes of its answer into deltas and the answer. */
function openCall(transport: Transport, options: HttpProviderOptions, call: ProviderCall, events: ProviderEvents): ProviderStream {
  const { name, dialect, headers } = options;
  const { model, request, maxOutputTokens, timeoutMs, traceparent } = call;
  const maxBytes = baseAnswerBytes + maxOutputTokens * bytesPerToken;
  const utf8 = new StringDecoder('utf8'); // quicker with small pieces than the decoder's own way
  const merger = mergeDeltas(events.delta);
  const decoder = dialect.decoder({ provider: name, model, onDelta: merger.add });
  const sse = createSseDecoder({
    maxEventChars,
    decodeUtf8: (bytes) => utf8.write(bytes),
    onEvent: (event, data) => decoder.event(event, data),
  });
  let sent = false;
  let received = 0;

  function data(chunk: Buffer): void {
    received += chunk.length;
    if (received > maxBytes) throw tooLong(call, name, maxBytes);
    try {
      sse.push(chunk);
    } catch (error) {
      throw error instanceof SseTooLargeError ? tooLarge(name, model, error) : error;
    } finally {
      merger.flush();
    }
    if (!decoder.finished) return;
    const answer = decoder.answer();
    stream.detach();
    events.done(answer);
  }

  const stream = transport.stream(
    {
      path: dialect.path,
      model,
      timeoutMs,
      headers: {
        ...headers,
        'idempotency-key': request.idempotencyKey,
        ...(traceparent === undefined ? {} : { traceparent }),
      },
      body: dialect.encode(request, { model, maxOutputTokens }),
    },
    {
      sent() {
        sent = true;
      },
      data,
      end: () => events.done(decoder.answer()),
      error: (error) => events.failed(error),
    },
  );
  return {
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    abort: () => stream.abort(),
    progress: () => ({ sent, usage: decoder.usage(), streamedTokens: decoder.streamedTokens() }),
  };
}

/** Deltas of one network chunk are passed on as one: fewer wake-ups, same text. */
function mergeDeltas(emit: (kind: DeltaKind, text: string) => void) {
  let pendingKind: DeltaKind = 'text';
  let pending = '';
  const flush = () => {
    if (pending === '') return;
    const text = pending;
    pending = '';
    emit(pendingKind, text);
  };
  return {
    add(kind: DeltaKind, text: string): void {
      if (kind !== pendingKind) {
        flush();
        pendingKind = kind;
      }
      pending += text;
    },
    flush,
  };
}

function tooLong({ model, maxOutputTokens }: ProviderCall, provider: string, maxBytes: number): NexusError {
  return new NexusError('provider_malformed', `${provider} goes on after ${maxBytes} bytes of an answer of ${maxOutputTokens} tokens`, {
    details: { provider, model },
  });
}

function tooLarge(provider: string, model: string, cause: SseTooLargeError): NexusError {
  return new NexusError('provider_malformed', `${provider} sent an event of more than ${cause.maxEventChars} characters`, {
    details: { provider, model },
    cause,
  });
}

export function readModelList(body: unknown): readonly string[] {
  const data = asRecord(body)?.data;
  return (Array.isArray(data) ? data : []).map((item) => asString(asRecord(item)?.id)).filter((id) => id !== '');
}
