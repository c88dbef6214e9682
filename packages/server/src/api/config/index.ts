/** The slice of the configuration that the HTTP API owns. */
import { z } from 'zod';
import { durationMs, group, httpUrl, setting } from '#core';

export const apiConfig = {
  host: setting(z.string().min(1).default('127.0.0.1'), 'Address to bind. Any other than loopback requires API keys.', {
    environment: 'NEXUS_HOST',
  }),
  port: setting(z.int().min(0).max(65_535).default(8080), 'Port to bind; 0 takes a free one.', { environment: 'NEXUS_PORT' }),
  auth: group({
    allowedHosts: setting(
      z.array(z.string().min(1)).default([]),
      'Host names, besides those of loopback, under which the local API may be addressed.',
      { environment: 'NEXUS_ALLOWED_HOSTS' },
    ),
    allowedOrigins: setting(
      z.array(httpUrl()).default([]),
      'Web origins that may call the local API, such as `https://console.example.com`.',
      { environment: 'NEXUS_ALLOWED_ORIGINS' },
    ),
  }),
  limits: group({
    bodyBytes: setting(z.int().min(1024).max(1_000_000_000).default(32_000_000), 'Largest body of a request.'),
    requestTimeoutMs: setting(
      durationMs().min(1000).default(60_000),
      'A request that takes longer to arrive whole is cut off, at the next look: at most 30 s later.',
    ),
    answerGraceMs: setting(durationMs().default(5_000), 'How long requests in flight may take to be answered at shutdown.'),
    streamLagMs: setting(
      durationMs().min(10).default(30_000),
      'A reader whose socket stays full for so long is told `stream.lagged` and detached.',
    ),
    streamPingMs: setting(durationMs().min(10).default(15_000), 'A stream on which nothing happens is pinged this often.'),
  }),
};
