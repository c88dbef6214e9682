/** The door of telemetry: log, traces and metrics. */
export { createLogger, type Logger, type LoggerOptions, type LogLevel, silentLogger } from './logger.ts';
export { createMetrics, type Metrics } from './metrics.ts';
export { attributes, contentAttributes, metricNames, operations, spanNames } from './names.ts';
export { createTracer, type Span, type SpanAttributes, type SpanOptions, type Tracer, type TracerOptions } from './tracer.ts';
