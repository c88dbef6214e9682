/** The slice of the configuration that the HTTP API owns. */
import { z } from 'zod';
import { durationMs, group, setting } from '#core';

/** `https://console.example.com`, as a browser sends it in `Origin`; nothing less exact, and no path. */
function webOrigin() {
  return z.string().transform((text, context) => {
    const origin = originOf(text);
    if (origin !== null) return origin;
    const message = 'expected a web origin such as https://console.example.com or http://localhost:5173: no path, no pattern';
    context.addIssue({ code: 'custom', message, input: text });
    return z.NEVER;
  });
}

function originOf(text: string): string | null {
  if (!/^https?:\/\/[^/?#@*\\\s]+\/?$/i.test(text) || !URL.canParse(text)) return null;
  return new URL(text).origin;
}

export const apiConfig = {
  host: setting(z.string().min(1).default('127.0.0.1'), 'Address to bind. Any other than loopback requires API keys.', {
    environment: 'NEXUS_HOST',
  }),
  port: setting(z.int().min(0).max(65_535).default(8080), 'Port to bind; 0 takes a free one.', { environment: 'NEXUS_PORT' }),
  auth: group({
    local: setting(
      z.enum(['token', 'open', 'none']).default('token'),
      'Who is the local operator, of those who come over loopback without an API key: whoever brings the token that is made at each start in a file of this user, which the command line and the client library find by themselves (`token`); every program on this machine, also what a proxy on it passes on (`open`); nobody, so that all need a key (`none`).',
      { environment: 'NEXUS_AUTH_LOCAL' },
    ),
    allowedHosts: setting(
      z.array(z.string().min(1)).default([]),
      'Host names, besides those of loopback, under which the local API may be addressed.',
      { environment: 'NEXUS_ALLOWED_HOSTS' },
    ),
    allowedOrigins: setting(
      z.array(webOrigin()).default([]),
      'Web origins whose pages may call the local API, such as `https://console.example.com` of a proxy before it: with a key, or as the operator without one where `auth.local` is `open`.',
      { environment: 'NEXUS_ALLOWED_ORIGINS' },
    ),
    keySecret: setting(
      z.string().min(32).max(1000).optional(),
      'Secret under which new API keys are hashed, the same on all nodes of a database.',
      { environment: 'NEXUS_KEY_SECRET', secret: true, otherwise: 'one that the database makes and keeps' },
    ),
  }),
  cors: group({
    origins: setting(
      z.array(webOrigin()).max(100).default([]),
      'Web origins, exactly as a browser names them, whose pages may call the API with an API key and read its answers.',
      { environment: 'NEXUS_CORS_ORIGINS' },
    ),
  }),
  mcp: group({
    server: group({
      enabled: setting(
        z.boolean().default(true),
        'Whether this server answers at `/mcp`: its tools and agents for clients of the Model Context Protocol.',
      ),
      agent: setting(
        z.string().min(1).max(63).default('chat'),
        'Whose tools, policy and budget clients are offered whose address names no agent, as in `/mcp?agent=researcher`.',
      ),
      tenantSessions: setting(
        z.int().min(1).max(100_000).default(200),
        'Most MCP sessions of one tenant in one process. One more ends the one that was heard of longest ago; where all are in use it is refused with `rate_limited`.',
      ),
      idleMs: setting(
        durationMs().min(1000).default(1_800_000),
        'An MCP session that nothing is heard of for so long ends, and what still goes on in it is cancelled.',
      ),
      questionMs: setting(
        durationMs().min(100).default(600_000),
        'A client that is asked within a call, and has not answered for so long, is given a result that says where to answer; what waits goes on waiting.',
      ),
      calls: setting(
        z.int().min(1).max(10_000).default(64),
        'Most calls of one key over MCP under way in one process; more are refused with `rate_limited`.',
      ),
    }),
  }),
  limits: group({
    bodyBytes: setting(
      z.int().min(1024).max(1_000_000_000).default(16_000_000),
      'Largest body of a request with text and images; other endpoints take less, as the OpenAPI document says of each.',
    ),
    requestTimeoutMs: setting(
      durationMs().min(1000).default(60_000),
      'A request that takes longer to arrive whole is cut off, at the next look: at most 30 s later.',
    ),
    keepAliveMs: setting(
      durationMs().min(1000).default(620_000),
      'How long a connection without a request is kept. It has to outlive what stands before the server: nginx keeps one for 60 or 75 s, load balancers of clouds for up to 600 s.',
    ),
    connections: setting(
      z.int().min(16).max(1_000_000).default(20_000),
      'Connections that may be open at once, on all addresses together; fewer where this process may not open as many files.',
    ),
    tenantRequests: setting(
      z.int().min(1).max(1_000_000).default(10_000),
      'Most requests of one tenant under way in one process, streams aside; more are refused with `rate_limited`.',
    ),
    tenantStreams: setting(
      z.int().min(1).max(1_000_000).default(20_000),
      'Most streams that one tenant reads from one process; more are refused with `rate_limited`.',
    ),
    answerGraceMs: setting(durationMs().default(5_000), 'How long requests in flight may take to be answered at shutdown.'),
    streamLagMs: setting(
      durationMs().min(10).default(30_000),
      'A reader whose socket stays full for so long is told `stream.lagged` and detached.',
    ),
    streamPingMs: setting(durationMs().min(10).default(15_000), 'A stream on which nothing happens is pinged this often.'),
  }),
};
