import { z } from 'zod';

/**
 * The whole configuration. One value of this type is made at start (defaults < file < environment < flags) and handed
 * down; nothing else reads the environment. Unknown keys are refused.
 */
const durationMs = z.int().min(0).max(86_400_000);
const httpUrl = z.url({ protocol: /^https?$/, error: 'expected an http or https address' });

/** Provider credentials and the address that they are sent to. */
function provider(baseUrl: string) {
  return z.strictObject({ apiKey: z.string().min(1).optional(), baseUrl: httpUrl.default(baseUrl) });
}

const compatibleModel = z.union([
  z
    .string()
    .min(1)
    .transform((id) => ({ id })),
  z.strictObject({
    id: z.string().min(1),
    contextTokens: z.int().positive().optional(),
    maxOutputTokens: z.int().positive().optional(),
  }),
]);

const price = z.strictObject({
  inputMicroUsdPerMillion: z.int().nonnegative(),
  outputMicroUsdPerMillion: z.int().nonnegative(),
  cacheReadMicroUsdPerMillion: z.int().nonnegative().optional(),
  cacheWriteMicroUsdPerMillion: z.int().nonnegative().optional(),
});

export const NexusConfig = z
  .strictObject({
    /** Address to bind. Any other than loopback requires API keys. */
    host: z.string().min(1).default('127.0.0.1'),
    port: z.int().min(0).max(65_535).default(8080),
    /** Holds the embedded database, session workspaces and the key that hashes API keys. */
    dataDir: z.string().min(1).default('.nexus'),
    /** Absent: the embedded database in `dataDir`. */
    databaseUrl: z.url({ protocol: /^postgres(ql)?$/, error: 'expected postgres://user:password@host:port/database' }).optional(),
    redisUrl: z.url({ protocol: /^rediss?$/, error: 'expected redis://host:port' }).optional(),
    qdrantUrl: httpUrl.optional(),
    /** What carries deltas between processes. `auto`: Redis if configured, else Postgres if used, else memory. */
    bus: z.enum(['auto', 'memory', 'postgres', 'redis']).default('auto'),
    /** Folders of agent definitions (YAML) and Cedar policies; default: `agents` and `policies` in `dataDir`. */
    agentsDir: z.string().min(1).optional(),
    policiesDir: z.string().min(1).optional(),
    /** Folder whose content each new session workspace starts with. */
    workspaceSeed: z.string().min(1).optional(),
    providers: z
      .strictObject({
        openai: provider('https://api.openai.com/v1').optional(),
        anthropic: provider('https://api.anthropic.com').optional(),
        /** Servers that speak OpenAI's chat protocol: Ollama, vLLM, llama.cpp, Groq and others. */
        compatible: z
          .array(
            z.strictObject({
              name: z.string().regex(/^[a-z][a-z0-9_-]{0,30}$/, { error: 'expected a short lower-case name' }),
              baseUrl: httpUrl,
              apiKey: z.string().min(1).optional(),
              models: z.array(compatibleModel).min(1),
            }),
          )
          .default([]),
      })
      .prefault({}),
    /** Prices by `provider/model`, before those of the price list. */
    prices: z.record(z.string(), price).default({}),
    sim: z
      .strictObject({
        /** `auto`: the simulator serves when no provider is configured. */
        enabled: z.union([z.enum(['auto', 'on', 'off']), z.boolean().transform((on) => (on ? 'on' : 'off'))]).default('auto'),
      })
      .prefault({}),
    runs: z
      .strictObject({
        leaseMs: durationMs.min(500).default(4000),
        heartbeatMs: durationMs.min(50).default(1000),
        pollMs: durationMs.min(10).default(500),
        maxLiveRuns: z.int().min(1).max(1_000_000).default(12_000),
        deltaCoalesceMs: durationMs.max(1000).default(25),
      })
      .prefault({}),
    limits: z
      .strictObject({
        bodyBytes: z.int().min(1024).max(1_000_000_000).default(32_000_000),
        streamLagMs: durationMs.min(10).default(30_000),
        streamPingMs: durationMs.min(10).default(15_000),
      })
      .prefault({}),
    log: z
      .strictObject({
        level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
        /** Default: pretty on a terminal. */
        pretty: z.boolean().optional(),
      })
      .prefault({}),
    otlp: z.strictObject({ endpoint: httpUrl.optional(), headers: z.record(z.string(), z.string()).default({}) }).prefault({}),
    auth: z
      .strictObject({
        /** Host names, besides those of loopback, under which the local API may be addressed. */
        allowedHosts: z.array(z.string().min(1)).default([]),
        /** Web origins that may call the local API, such as `https://console.example.com`. */
        allowedOrigins: z.array(httpUrl).default([]),
      })
      .prefault({}),
    httpFetch: z
      .strictObject({
        /** Private hosts, addresses or CIDR ranges that `http_fetch` may reach. */
        allowPrivate: z.array(z.string().min(1)).default([]),
      })
      .prefault({}),
    sqlite: z
      .strictObject({
        /** `FULL` also survives power loss without losing the last commits. */
        synchronous: z.enum(['NORMAL', 'FULL']).default('NORMAL'),
      })
      .prefault({}),
    /** How long SIGTERM lets live work finish or hand over. */
    drainMs: durationMs.default(15_000),
    /** The server that the command line talks to. */
    client: z
      .strictObject({
        /** Default: the address that `host` and `port` above mean on this machine. */
        url: httpUrl.optional(),
        apiKey: z.string().min(1).optional(),
      })
      .prefault({}),
  })
  .transform((config) => ({
    ...config,
    agentsDir: config.agentsDir ?? `${config.dataDir}/agents`,
    policiesDir: config.policiesDir ?? `${config.dataDir}/policies`,
  }))
  .refine((config) => config.runs.heartbeatMs * 2 <= config.runs.leaseMs, {
    path: ['runs', 'heartbeatMs'],
    error: 'must be at most half of runs.leaseMs, or live runs would be taken from their worker',
  });
export type NexusConfig = z.infer<typeof NexusConfig>;

type Nested<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: Nested<T[K]> } : T;
/** Part of a configuration as a file or flags give it. */
export type ConfigInput = Nested<z.input<typeof NexusConfig>>;

/** The address of the server that the command line talks to. */
export function clientUrl(config: NexusConfig): string {
  if (config.client.url !== undefined) return config.client.url;
  const host = config.host === '0.0.0.0' || config.host === '::' || config.host === 'localhost' ? '127.0.0.1' : config.host;
  return `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${config.port === 0 ? 8080 : config.port}`;
}

const secretPath = /(^|\.)(apiKey|headers(\.|$))/;

/** True for keys whose value is a secret as a whole. */
export function isSecretPath(path: string): boolean {
  return secretPath.test(path);
}

/** A copy that may be shown: secrets and the passwords in addresses are replaced. */
export function redactConfig(config: NexusConfig): unknown {
  return redact(config, '');
}

function redact(value: unknown, path: string): unknown {
  if (Array.isArray(value)) return value.map((item) => redact(item, path));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(item, path === '' ? key : `${path}.${key}`)]));
  }
  if (typeof value !== 'string') return value;
  return isSecretPath(path) ? '[redacted]' : value.replace(/^([a-z][a-z0-9+.-]*:\/\/[^/:@]*):[^/]*@/i, '$1:[redacted]@');
}
