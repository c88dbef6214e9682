import { randomFillSync } from 'node:crypto';
import { dictionary } from '@nexus-agent/protocol';
import {
  type Clock,
  formatTraceparent,
  NexusError,
  noSecrets,
  parseTraceparent,
  redactText,
  type SecretValues,
  type SpanPlace,
  systemClock,
  systemTimers,
  type Timers,
} from '#core';
import type { SpanKindName } from './ended-span.ts';
import type { Logger } from './logger.ts';
import { attributes as names } from './names.ts';
import { createOtlpSink, type SpanSink } from './otlp.ts';

export type SpanAttributes = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** A piece of work being traced. End it exactly once; what comes after the end is ignored. */
export interface Span {
  /** W3C `traceparent` of this span: store it or send it to continue the trace elsewhere. */
  readonly traceparent: string;
  readonly traceId: string;
  setAttributes(attributes: SpanAttributes): void;
  /** Marks the span as failed. Only the kind of the error is kept, and the message of a {@link NexusError}. */
  recordError(error: unknown): void;
  end(): void;
}

export interface SpanOptions {
  readonly kind?: SpanKindName;
  readonly attributes?: SpanAttributes;
  /** The span this one is part of, here or in another process; without one a new trace begins. */
  readonly parent?: Span | string;
}

export interface Tracer {
  start(name: string, options?: SpanOptions): Span;
  /** Sends what has ended so far, then stops; resolves after `timeoutMs` at the latest, sent or not. */
  close(timeoutMs?: number): Promise<void>;
}

export interface TracerOptions {
  /** Base address of an OTLP/HTTP receiver, such as `http://localhost:4318`. Without one nothing is recorded, but traces have ids. */
  readonly endpoint?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly serviceName: string;
  readonly serviceVersion?: string;
  /** What no span may hold. */
  readonly secrets?: SecretValues;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** Hears when spans cannot be delivered. */
  readonly logger?: Logger;
}

const maxAttributeChars = 4096;
const maxAttributes = 128;

export function createTracer(options: TracerOptions): Tracer {
  const clock = options.clock ?? systemClock;
  const timers = options.timers ?? systemTimers;
  const ids = createHexIds();
  const sink = options.endpoint === undefined ? undefined : createOtlpSink({ ...options, endpoint: options.endpoint, timers });
  return {
    start: (name, spanOptions) => startSpan({ clock, ids, sink, secrets: options.secrets ?? noSecrets }, name, spanOptions ?? {}),
    close: async (timeoutMs = 2000) => sink?.close(timeoutMs),
  };
}

interface SpanDependencies {
  readonly clock: Clock;
  readonly ids: (bytes: number) => string;
  readonly sink: SpanSink | undefined;
  readonly secrets: SecretValues;
}

function startSpan({ clock, ids, sink, secrets }: SpanDependencies, name: string, options: SpanOptions): Span {
  const parent = options.parent === undefined ? undefined : placeOf(options.parent);
  const place: SpanPlace = { traceId: parent?.traceId ?? ids(16), spanId: ids(8), sampled: parent?.sampled ?? true };
  const traceparent = formatTraceparent(place);
  const recorder = sink !== undefined && place.sampled ? sink : undefined;
  if (recorder === undefined) return { traceparent, traceId: place.traceId, setAttributes: ignore, recordError: ignore, end: ignore };

  const startMs = clock.now();
  const startedAt = clock.monotonic();
  const kept: Record<string, string | number | boolean | string[]> = dictionary({});
  let error: { message: string } | undefined;
  let ended = false;

  function setAttributes(given: SpanAttributes): void {
    if (ended) return;
    for (const [key, value] of Object.entries(given)) {
      if (value === undefined) continue;
      if (!Object.hasOwn(kept, key) && Object.keys(kept).length >= maxAttributes) continue;
      if (typeof value === 'string') kept[key] = secrets.inText(value).slice(0, maxAttributeChars);
      else kept[key] = typeof value === 'object' ? value.map((item) => secrets.inText(item).slice(0, maxAttributeChars)) : value;
    }
  }

  if (options.attributes !== undefined) setAttributes(options.attributes);
  return {
    traceparent,
    traceId: place.traceId,
    setAttributes,
    recordError(thrown) {
      if (ended) return;
      const known = thrown instanceof NexusError;
      error = { message: known ? redactText(secrets.inErrors(thrown.message)).slice(0, maxAttributeChars) : '' };
      setAttributes({ [names.errorType]: known ? thrown.code : thrown instanceof Error ? thrown.name : 'error' });
    },
    end() {
      if (ended) return;
      ended = true;
      recorder.add({
        name: secrets.inText(name),
        kind: options.kind ?? 'internal',
        place,
        parent,
        startMs,
        durationMs: clock.monotonic() - startedAt,
        attributes: kept,
        error,
      });
    },
  };
}

function ignore(): void {}

function placeOf(span: Span | string): SpanPlace | undefined {
  return parseTraceparent(typeof span === 'string' ? span : span.traceparent);
}

/** Random ids from blocks of random bytes; the all-zero id, which the specification forbids, is drawn again. */
function createHexIds(): (bytes: number) => string {
  const pool = Buffer.alloc(4096);
  let used = pool.length;
  return function next(bytes): string {
    if (used + bytes > pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    const id = pool.toString('hex', used, used + bytes);
    used += bytes;
    return /[^0]/.test(id) ? id : next(bytes);
  };
}
