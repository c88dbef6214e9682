import { dictionary } from '@nexus-agent/protocol';
import type { Attributes, HrTime, SpanContext } from '@opentelemetry/api';
import type { BatchSpanProcessor, ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { type SpanPlace, settlesWithin, type Timers } from '#core';
import type { EndedSpan, SpanKindName } from './ended-span.ts';
import type { Logger } from './logger.ts';

/** Where ended spans go. */
export interface SpanSink {
  add(span: EndedSpan): void;
  /** Sends what was added, then stops. Resolves after `timeoutMs` at the latest, sent or not. */
  close(timeoutMs: number): Promise<void>;
}

export interface OtlpOptions {
  readonly endpoint: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly serviceName: string;
  readonly serviceVersion?: string;
  readonly timers: Timers;
  readonly logger?: Logger;
}

const maxWaiting = 2048;

interface Pipeline {
  readonly processor: BatchSpanProcessor;
  readonly readable: (span: EndedSpan) => ReadableSpan;
}

/** Sends spans in batches over OTLP/HTTP. The SDK is loaded when the first span ends; until then spans wait, bounded. */
export function createOtlpSink(options: OtlpOptions): SpanSink {
  let waiting: EndedSpan[] = [];
  let pipeline: Pipeline | undefined;
  let loading: Promise<void> | undefined;
  let closed = false;

  async function load(): Promise<void> {
    try {
      pipeline = await createPipeline(options);
      for (const span of waiting) pipeline.processor.onEnd(pipeline.readable(span));
    } catch (err) {
      options.logger?.error({ err }, 'the trace exporter cannot be loaded; spans are dropped');
      closed = true;
    }
    waiting = [];
  }

  async function finish(): Promise<void> {
    await loading;
    closed = true;
    await pipeline?.processor.shutdown();
  }

  return {
    add(span) {
      if (closed) return;
      if (pipeline !== undefined) pipeline.processor.onEnd(pipeline.readable(span));
      else if (waiting.length < maxWaiting) waiting.push(span);
      loading ??= load();
    },
    async close(timeoutMs) {
      // Failed exports are reported by the exporter's wrapper; here they only end the wait.
      await settlesWithin(options.timers, finish(), timeoutMs);
      closed = true;
    },
  };
}

async function createPipeline(options: OtlpOptions): Promise<Pipeline> {
  const [{ BatchSpanProcessor: Batch }, { OTLPTraceExporter }, { resourceFromAttributes }, api] = await Promise.all([
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/api'),
  ]);
  const exporter = new OTLPTraceExporter({
    url: `${options.endpoint.replace(/\/+$/, '')}/v1/traces`,
    ...(options.headers === undefined ? {} : { headers: { ...options.headers } }),
  });
  const resource = resourceFromAttributes({
    'service.name': options.serviceName,
    ...(options.serviceVersion === undefined ? {} : { 'service.version': options.serviceVersion }),
  });
  const kinds: Record<SpanKindName, number> = dictionary({
    internal: api.SpanKind.INTERNAL,
    client: api.SpanKind.CLIENT,
  });
  const contextOf = ({ traceId, spanId, sampled }: SpanPlace, isRemote: boolean): SpanContext => ({
    traceId,
    spanId,
    traceFlags: sampled ? api.TraceFlags.SAMPLED : api.TraceFlags.NONE,
    isRemote,
  });
  return {
    processor: new Batch({ exporter: reporting(exporter, options.logger), scheduledDelayMillis: 2000, exportTimeoutMillis: 10_000 }),
    readable(span) {
      const startTime = toHrTime(span.startMs);
      return {
        name: span.name,
        kind: kinds[span.kind],
        spanContext: () => contextOf(span.place, false),
        ...(span.parent === undefined ? {} : { parentSpanContext: contextOf(span.parent, true) }),
        startTime,
        endTime: toHrTime(span.startMs + span.durationMs),
        duration: toHrTime(span.durationMs),
        status:
          span.error === undefined ? { code: api.SpanStatusCode.UNSET } : { code: api.SpanStatusCode.ERROR, message: span.error.message },
        attributes: span.attributes as Attributes, // the same values, only read
        links: [],
        events: [],
        ended: true,
        resource,
        instrumentationScope: { name: 'nexus-agent', ...(options.serviceVersion === undefined ? {} : { version: options.serviceVersion }) },
        droppedAttributesCount: 0,
        droppedEventsCount: 0,
        droppedLinksCount: 0,
      };
    },
  };
}

/** Says once that spans are lost, and once that they arrive again. */
function reporting(exporter: SpanExporter, logger: Logger | undefined): SpanExporter {
  let failing = false;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const failed = result.code !== 0;
        if (failed && !failing) logger?.warn({ err: result.error, spans: spans.length }, 'spans could not be delivered; they are dropped');
        if (!failed && failing) logger?.info({}, 'spans are delivered again');
        failing = failed;
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush === undefined ? {} : { forceFlush: exporter.forceFlush.bind(exporter) }),
  };
}

function toHrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}
