/** The slice of the configuration that logs and traces own. */
import { z } from 'zod';
import { durationMs, group, httpUrl, setting } from '#core';

export const telemetryConfig = {
  log: group({
    level: setting(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'), 'The least that is logged.', {
      environment: 'NEXUS_LOG_LEVEL',
    }),
    pretty: setting(z.boolean().optional(), 'Lines for people instead of JSON.', {
      environment: 'NEXUS_LOG_PRETTY',
      otherwise: 'on a terminal',
    }),
  }),
  otlp: group({
    endpoint: setting(httpUrl().optional(), 'OTLP/HTTP receiver of traces, such as `http://localhost:4318`.', {
      environment: 'OTEL_EXPORTER_OTLP_ENDPOINT',
      otherwise: 'none: traces have ids and are not sent',
    }),
    headers: setting(z.record(z.string(), z.string()).default({}), 'Sent with every export.', { secret: true }),
    closeTimeoutMs: setting(durationMs().default(2_000), 'How long the last spans may take to be sent at shutdown.'),
  }),
};
