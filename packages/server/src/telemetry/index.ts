/** The door of telemetry: log, traces and metrics. */
export { createLogger, type Logger, type LogLevel } from './logger.ts';
export { createMetrics, type Metrics, type TurnQueue } from './metrics.ts';
export { attributes, operations, spanNames } from './names.ts';
export type { EgressSource, ExecutedTool } from './tool-metrics.ts';
export { createTracer, type Span, type Tracer } from './tracer.ts';
