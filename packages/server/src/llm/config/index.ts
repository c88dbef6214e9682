/** The slice of the configuration that the LLM service owns. */
import { z } from 'zod';
import { durationMs, group, httpUrl, isAmbiguousAddress, setting } from '#core';

/** The address of a provider. Its query is sent with each request; what could not be sent is refused. */
function baseUrl() {
  return httpUrl()
    .refine((url) => (URL.parse(url)?.hash ?? '') === '', { error: 'expected an address without a fragment (#…), which is never sent' })
    .refine((url) => `${URL.parse(url)?.username ?? ''}${URL.parse(url)?.password ?? ''}` === '', {
      error: 'expected an address without credentials: give them as `apiKey` or in `headers`',
    })
    .refine((url) => !endpoint.test(URL.parse(url)?.pathname ?? ''), {
      error:
        'expected the address up to the version, such as `…/v1`: what is asked there (`/chat/completions`, `/messages`, `/models`) is appended',
    });
}

/** What is appended to the address of a provider, or stands there in other protocols. */
const endpoint = /\/(chat\/completions|completions|messages|models|responses|embeddings|api\/(chat|generate|tags))\/*$/;

/** Sent in a header; blanks around it, as they come with copying, are left out. */
function apiKey() {
  return z
    .string()
    .trim()
    .min(1)
    .regex(/^[!-~]*$/, { error: 'expected a key of one word, without blanks, quotation marks of print or line ends' });
}

const connectionHeaders = new Set(['connection', 'content-length', 'expect', 'host', 'keep-alive', 'transfer-encoding', 'upgrade']);
const isHeader = (name: string) => /^[\w!#$%&'*+.^`|~-]+$/.test(name) && !connectionHeaders.has(name.toLowerCase());

const headers = () =>
  setting(
    z
      .record(
        z.string(),
        z.string().regex(/^[\t\u0020-\u007e\u00a0-\u00ff]*$/, {
          error: 'expected a value on one line, without other characters than those of Latin-1',
        }),
      )
      .refine((all) => Object.keys(all).every(isHeader), { error: 'expected names of headers, and none of the connection itself' })
      .optional(),
    'Headers of every request, such as those of a gateway. Never shown.',
    { secret: true },
  );

/** Members of a request that say what the platform decides, and counts. */
const ownMembers = ['model', 'messages', 'tools', 'stream', 'n', 'max_tokens', 'max_completion_tokens'];

const extraBody = () =>
  setting(
    z
      .record(z.string(), z.unknown())
      .refine((members) => ownMembers.every((name) => !Object.hasOwn(members, name)), {
        error: `expected other members than ${ownMembers.join(', ')}, which the platform sets itself`,
      })
      .optional(),
    'Members of every request beyond the common format. What a request has itself comes before. They count as input in full; with `service_tier` (but for `default` and `flex`), `web_search_options` or `plugins` the price list does not hold, and prices are to be stated. Never shown.',
    { secret: true },
  );

const maxTokensField = (otherwise: string) =>
  setting(z.enum(['max_tokens', 'max_completion_tokens']).optional(), 'The member that holds the most tokens of an answer.', {
    otherwise: `\`${otherwise}\``,
  });

const formatFeatures = ['responseFormat', 'responseFormatWithTools', 'temperature'] as const;
const chatFeatures = [
  ...formatFeatures,
  'streamOptions',
  'reasoning',
  'callsWithoutReasoning',
  'callsWithoutSignature',
  'userAfterTool',
  'systemMessage',
  'parallelCalls',
  'callsWithoutTools',
  'nullContent',
  'longDescriptions',
  'earlierImages',
] as const;

const omitted =
  'What the server does not take, and requests do without: `responseFormat` (a schema for the answer is then stated in the instructions), `responseFormatWithTools` (the same, beside tools only), `temperature`';
const found = 'What is not named is found out by the first refusal that names it.';
const chatOmit = () =>
  setting(
    z.array(z.enum(chatFeatures)).optional(),
    `${omitted}, \`streamOptions\`, \`reasoning\` (what the model thought, sent back to it); \`callsWithoutReasoning\` and \`callsWithoutSignature\` (calls that another model made: a stand-in is sent for what they lack), \`userAfterTool\` (a user’s message right after a result: one of the assistant is put between), \`systemMessage\` (the instructions are put before the first message), \`parallelCalls\` (several calls of one answer: they are told one after another), \`callsWithoutTools\` (calls where no tools are offered any more: those that were called are named), \`nullContent\` (calls without a text: the text is then empty), \`longDescriptions\` (a tool’s description is cut after 1,024 characters), \`earlierImages\` (images before the newest message: it is said that they were there). ${found}`,
  );

/** Provider credentials and the address that they are sent to. */
function credentials(title: string, environment: string, address: string) {
  return {
    apiKey: setting(apiKey().optional(), `Key of ${title}. With one, its models are offered.`, {
      environment: `${environment}_API_KEY`,
      secret: true,
    }),
    baseUrl: setting(baseUrl().default(address), 'The address that the key is sent to.', { environment: `${environment}_BASE_URL` }),
    headers: headers(),
    ...connection(),
  };
}

/** A proxy; without a scheme it is http, as other programs read the variables. */
function proxyAddress() {
  return z
    .string()
    .min(1)
    .refine((text) => !isAmbiguousAddress(text.includes('://') ? text : `http://${text}`), {
      error: 'expected http://user:password@host:port',
    })
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

const thinksUnseen = (otherwise = 'false for what is free and for OpenAI’s models before GPT-5, else true') =>
  setting(
    z.boolean().optional(),
    'Whether models may write tokens that are billed and not streamed: what is not known of an answer then counts as its limit.',
    { otherwise },
  );

const compatibleModel = z.union([
  z
    .string()
    .min(1)
    .transform((id) => ({ id })),
  z.strictObject({
    id: z.string().min(1),
    contextTokens: z.int().positive().optional(),
    maxOutputTokens: z.int().positive().optional(),
    imageTokens: z.int().positive().optional(),
    omit: z.array(z.enum(chatFeatures)).optional(),
    thinksUnseen: z.boolean().optional(),
  }),
]);

const pricePerMillion = z.strictObject({
  inputMicroUsdPerMillion: z.int().nonnegative(),
  outputMicroUsdPerMillion: z.int().nonnegative(),
  cacheReadMicroUsdPerMillion: z.int().nonnegative().optional(),
  cacheWriteMicroUsdPerMillion: z.int().nonnegative().optional(),
});
const price = z.union([z.literal('free'), pricePerMillion], {
  error: 'expected `free` or { inputMicroUsdPerMillion, outputMicroUsdPerMillion } in millionths of a dollar: 250000 is $0.25',
});

export const llmConfig = {
  providers: group({
    openai: z
      .strictObject({
        ...credentials('OpenAI', 'OPENAI', 'https://api.openai.com/v1'),
        maxTokensField: maxTokensField('max_completion_tokens'),
        extraBody: extraBody(),
        omit: chatOmit(),
        thinksUnseen: thinksUnseen(),
      })
      .optional(),
    anthropic: z
      .strictObject({
        ...credentials('Anthropic', 'ANTHROPIC', 'https://api.anthropic.com'),
        promptCaching: setting(z.boolean().optional(), 'Marks the instructions and the conversation for the provider’s prompt cache.', {
          otherwise: 'true',
        }),
        thinking: setting(
          z.union([z.literal('adaptive'), z.strictObject({ budgetTokens: z.int().min(1024) })]).optional(),
          'How models think before they answer: `adaptive`, or `{ budgetTokens }`, which is left out of calls that could not hold it.',
          { otherwise: 'the model’s own way' },
        ),
        omit: setting(z.array(z.enum(formatFeatures)).optional(), `${omitted}. ${found}`),
        thinksUnseen: thinksUnseen('true where `thinking` is set, else false: what Anthropic’s models think is streamed'),
      })
      .optional(),
    compatible: setting(
      z
        .array(
          z.strictObject({
            name: setting(
              z.string().regex(/^[a-z][a-z0-9_-]{0,30}$/, { error: 'expected a short lower-case name' }),
              'The provider in `provider/model`.',
            ),
            baseUrl: setting(
              baseUrl(),
              'Up to and with the version, such as `http://127.0.0.1:11434/v1`; a query is sent with each request. What is on loopback is free.',
            ),
            apiKey: setting(apiKey().optional(), 'Many local servers need none.', { secret: true }),
            ...connection(),
            models: setting(
              z.array(compatibleModel).min(1).optional(),
              'Names, or `{ id, contextTokens, maxOutputTokens, imageTokens, omit, thinksUnseen }` where the sizes are not known or a model differs from the others. The first serves those who do not choose. `imageTokens`: the most that one image counts, 16,384 unless it is said.',
              { otherwise: 'what the server lists at `/models`' },
            ),
            headers: headers(),
            maxTokensField: maxTokensField('max_tokens'),
            extraBody: extraBody(),
            omit: chatOmit(),
            countsTokens: setting(
              z.boolean().optional(),
              'It has the `/tokenize` of vLLM or llama.cpp, which is asked before a budget refuses a call for what its input may cost.',
              { otherwise: 'true on loopback' },
            ),
            thinksUnseen: thinksUnseen(),
            price: setting(
              price.optional(),
              'Of all its models, as in `prices`; `free` for a machine of your own elsewhere in the network.',
              { otherwise: '`free` on loopback, else by `priceCatalogue`, else not known' },
            ),
            priceCatalogue: setting(z.string().min(1).optional(), 'Name of the provider in the price list, such as `groq` or `mistral`.'),
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
      { environment: 'HTTPS_PROXY', anyCase: true, address: true },
    ),
    http: setting(proxyAddress().optional(), 'Proxy for providers with an `http` address.', {
      environment: 'HTTP_PROXY',
      anyCase: true,
      address: true,
    }),
    except: setting(
      z.array(z.string()).default([]),
      'Hosts that are reached directly: names with all below them, `*.` for those below alone, addresses, ranges such as `10.0.0.0/8`, each with or without a port, or `*`. What lies on this machine always is.',
      { environment: 'NO_PROXY', anyCase: true },
    ),
  }),
  prices: setting(
    z.record(z.string(), price).default({}),
    'Prices by `provider/model`, or `provider/*` for all of its models, before those of the price list: `free`, or `{ inputMicroUsdPerMillion, outputMicroUsdPerMillion, cacheReadMicroUsdPerMillion, cacheWriteMicroUsdPerMillion }` in millionths of a dollar (250000 is $0.25). Without prices of the cache the input costs what it costs, and writing it to the cache of `anthropic` a quarter more, as published.',
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
    maxAnswerChars: setting(
      z.int().min(10_000).max(20_000_000).default(2_000_000),
      'Most characters of an answer: its texts, thoughts and tool calls together. One that is longer is given up, charged and not asked for again.',
    ),
    maxAttempts: setting(z.int().min(1).max(100).default(8), 'Attempts of one model call, over the model and its fallbacks.'),
    maxAttemptsPerTarget: setting(z.int().min(1).max(100).default(3), 'Attempts at one model before the next is tried.'),
    baseDelayMs: setting(durationMs().default(250), 'The first wait between attempts is up to this; each further one up to twice as long.'),
    maxDelayMs: setting(
      durationMs().default(8_000),
      'Longest wait of ours, and the longest that a provider may ask for while a fallback is left.',
    ),
  }),
};
