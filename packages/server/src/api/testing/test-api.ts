import { createIdSource, systemClock } from '#core';
import { createApi } from '../server.ts';
import type { Api, ApiConfig, ApiMetrics, StreamOutcome } from '../types.ts';
import { createFakeRunService, type FakeRunService } from './fake-run-service.ts';

export interface TestApi {
  readonly url: string;
  readonly port: number;
  readonly api: Api;
  readonly service: FakeRunService;
  readonly logs: { level: string; fields: object; message: string }[];
  readonly requests: Parameters<ApiMetrics['requestCompleted']>[0][];
  readonly streams: StreamOutcome[];
}

export interface TestApiOptions {
  readonly service?: FakeRunService;
  readonly host?: string;
  readonly auth?: Partial<ApiConfig['auth']>;
  readonly limits?: Partial<ApiConfig['limits']>;
}

/** The real API on a free port, before a fake engine. */
export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const service = options.service ?? createFakeRunService();
  const logs: TestApi['logs'] = [];
  const requests: TestApi['requests'] = [];
  const streams: StreamOutcome[] = [];
  const log = (level: string) => (fields: object, message: string) => void logs.push({ level, fields, message });
  const api = await createApi({
    services: service.services,
    greeting: service.greeting,
    ready: () => service.ready(),
    version: '0.0.0-test',
    ids: createIdSource(systemClock),
    config: {
      host: options.host ?? '127.0.0.1',
      port: 0,
      auth: { allowedHosts: [], allowedOrigins: [], ...options.auth },
      limits: { bodyBytes: 1_000_000, streamLagMs: 5000, streamPingMs: 5000, ...options.limits },
    },
    logger: { info: log('info'), warn: log('warn'), error: log('error') },
    metrics: {
      requestCompleted: (request) => void requests.push(request),
      streamOpened: () => undefined,
      streamEvents: () => undefined,
      streamClosed: ({ outcome }) => void streams.push(outcome),
      scrape: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'nexus_up 1\n' }),
    },
  });
  const { url, port } = await api.listen();
  return { url, port, api, service, logs, requests, streams };
}
