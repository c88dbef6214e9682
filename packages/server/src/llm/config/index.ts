/** The slice of the configuration that the LLM service owns. */
import { z } from 'zod';
import { durationMs, group, httpUrl, setting } from '#core';

/** Provider credentials and the address that they are sent to. */
function provider(title: string, environment: string, baseUrl: string) {
  return z
    .strictObject({
      apiKey: setting(z.string().min(1).optional(), `Key of ${title}. With one, its models are offered.`, {
        environment: `${environment}_API_KEY`,
        secret: true,
      }),
      baseUrl: setting(httpUrl().default(baseUrl), 'The address that the key is sent to.', { environment: `${environment}_BASE_URL` }),
      ...connection(),
    })
    .optional();
}

/** A proxy; without a scheme it is http, as other programs read the variables. */
function proxyAddress() {
  return z
    .string()
    .min(1)
    .transform((text) => (/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`));
}

/** How one provider is reached, and how patiently. */
function connection() {
  return {
    proxy: setting(
      z.boolean().optional(),
      'Whether it is reached through the proxy: true also where `proxy.except` or an address on this machine says otherwise, false never.',
      { otherwise: 'as `proxy` says' },
    ),
    connectTimeoutMs: setting(durationMs().min(1).optional(), 'For this provider instead of `llm.connectTimeoutMs`.'),
    firstByteTimeoutMs: setting(durationMs().min(1).optional(), 'For this provider instead of `llm.firstByteTimeoutMs`.'),
    idleTimeoutMs: setting(durationMs().min(1).optional(), 'For this provider instead of `llm.idleTimeoutMs`.'),
  };
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

export const llmConfig = {
  providers: group({
    openai: provider('OpenAI', 'OPENAI', 'https://api.openai.com/v1'),
    anthropic: provider('Anthropic', 'ANTHROPIC', 'https://api.anthropic.com'),
    compatible: setting(
      z
        .array(
          z.strictObject({
            name: setting(
              z.string().regex(/^[a-z][a-z0-9_-]{0,30}$/, { error: 'expected a short lower-case name' }),
              'The provider in `provider/model`.',
            ),
            baseUrl: setting(httpUrl(), 'Up to and with the version, such as `http://127.0.0.1:11434/v1`. What is on loopback is free.'),
            apiKey: setting(z.string().min(1).optional(), 'Many local servers need none.', { secret: true }),
            ...connection(),
            models: setting(
              z.array(compatibleModel).min(1),
              'Names, or `{ id, contextTokens, maxOutputTokens }` where the sizes are not known.',
            ),
          }),
        )
        .default([]),
      'Servers that speak OpenAI’s chat protocol: Ollama, vLLM, llama.cpp, Groq and others.',
    ),
  }),
  proxy: group({
    https: setting(
      proxyAddress().optional(),
      'Proxy for providers with an `https` address, such as `http://user:password@proxy.example.com:3128`. `http_fetch` does not use it.',
      { environment: 'HTTPS_PROXY', anyCase: true },
    ),
    http: setting(proxyAddress().optional(), 'Proxy for providers with an `http` address.', { environment: 'HTTP_PROXY', anyCase: true }),
    except: setting(
      z.array(z.string()).default([]),
      'Hosts that are reached directly: names with all below them, `*.` for those below alone, addresses, ranges such as `10.0.0.0/8`, each with or without a port, or `*`. What lies on this machine always is.',
      { environment: 'NO_PROXY', anyCase: true },
    ),
  }),
  prices: setting(
    z.record(z.string(), price).default({}),
    'Prices by `provider/model`, before those of the price list: `{ inputMicroUsdPerMillion, outputMicroUsdPerMillion, cacheReadMicroUsdPerMillion, cacheWriteMicroUsdPerMillion }`.',
  ),
  sim: group({
    enabled: setting(
      z.union([z.enum(['auto', 'on', 'off']), z.boolean().transform((on) => (on ? 'on' : 'off'))]).default('auto'),
      'The simulator; `auto`: when no provider is configured.',
      { environment: 'NEXUS_SIM' },
    ),
  }),
  llm: group({
    connectTimeoutMs: setting(durationMs().min(1).default(10_000), 'Longest wait for a connection to a provider.'),
    firstByteTimeoutMs: setting(
      durationMs().min(1).optional(),
      'Longest wait for the first byte of an answer. Less than the agent’s `timeoutMs` gives up sooner on a server that is silent, for the next attempt or model.',
      { otherwise: 'the agent’s `timeoutMs`' },
    ),
    idleTimeoutMs: setting(durationMs().min(1).default(300_000), 'Longest pause between two chunks of an answer.'),
    maxAttempts: setting(z.int().min(1).max(100).default(8), 'Attempts of one model call, over the model and its fallbacks.'),
    maxAttemptsPerTarget: setting(z.int().min(1).max(100).default(3), 'Attempts at one model before the next is tried.'),
    baseDelayMs: setting(durationMs().default(250), 'The first wait between attempts is up to this; each further one up to twice as long.'),
    maxDelayMs: setting(
      durationMs().default(8_000),
      'Longest wait of ours, and the longest that a provider may ask for while a fallback is left.',
    ),
  }),
};
