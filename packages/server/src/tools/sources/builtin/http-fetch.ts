import type { Dispatcher } from 'undici';
import { type Clock, createShares, NexusError, systemClock, type Timers, type WaitObserver } from '#core';
import type { Tool, ToolContext, ToolResult } from '#tools/contract';
import {
  type BoundedBody,
  createEgressAgent,
  createNameResolver,
  decodeText,
  type EdgeSecret,
  type EdgeSecrets,
  type EgressOptions,
  hostnameOf,
  htmlToMarkdown,
  noEdgeSecrets,
  portOf,
  prettyJson,
  readBounded,
  redirectStatuses,
  requireAllowedUrl,
  reservedHeaders,
} from '#tools/net';
import { edgeSecretFor, secretProperty } from './edge-secret.ts';

export interface HttpFetchOptions extends Partial<EgressOptions> {
  readonly timers: Pick<Timers, 'soon' | 'after'>;
  readonly clock?: Pick<Clock, 'monotonic'>;
  /** Fetches at a time, see {@link createShares}. */
  readonly maxFetches?: number;
  readonly spareFetches?: number;
  /** Nothing waits longer for its turn. */
  readonly maxWaitMs?: number;
  readonly maxWaiting?: number;
  /** Hears of the queue. */
  readonly observer?: WaitObserver;
  /** Bytes of a body that are read, after decompression; the rest is left and the cut is said. */
  readonly maxBodyBytes?: number;
  /** Longest silence of a server, before and within its answer. */
  readonly idleTimeoutMs?: number;
  /** What calls may name to be sent along. */
  readonly secrets?: EdgeSecrets;
}

interface FetchInput {
  readonly url: string;
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly body?: string;
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly secret?: string;
  readonly raw?: boolean;
}

const maxRedirects = 5;
/**
 * What goes along to another host, scheme or port. Any other header may hold a secret, whatever it is called: it was meant for the one
 * that the caller named.
 */
const plainHeaders = new Set(['accept', 'accept-language', 'cache-control', 'range', 'user-agent']);
const textTypes = /^(text\/|application\/(.*\+)?(json|xml|yaml|x-yaml|javascript|ecmascript|csv|x-ndjson|toml|sql|rtf|graphql)\b)/;

const urlProperty = { type: 'string', maxLength: 4_000 };
const headersProperty = { type: 'object', additionalProperties: { type: 'string', maxLength: 4_000 }, maxProperties: 20 };
const maxSentChars = 1_000_000;

/**
 * `http_fetch`, which reads a page or an API of the public internet, and `http_request`, which may change something there. Every hop, redirects
 * included, is authorized by policy for its host and may only reach public addresses or what the operator granted. Nothing is kept between
 * calls: no cookies, no connections. Both wait for the same turns.
 */
export function createHttpTools(options: HttpFetchOptions): readonly Tool[] {
  const exchange = createExchange(options);
  const shared = { source: 'built-in', tier: 'host', permissions: ['net.egress'], timeoutMs: 30_000 } as const;
  return [
    {
      ...shared,
      name: 'http_fetch',
      description:
        'Fetches a public http or https URL with GET or HEAD. Gives the status line and the body as text; HTML becomes Markdown unless raw is true. ' +
        'Redirects are followed.',
      inputSchema: {
        type: 'object',
        properties: {
          url: urlProperty,
          method: { enum: ['GET', 'HEAD'], description: 'GET when left out' },
          headers: headersProperty,
          secret: secretProperty,
          raw: { type: 'boolean', description: 'HTML and JSON as they are' },
        },
        required: ['url'],
        additionalProperties: false,
      },
      effects: 'none',
      execute: (input, context) => exchange(input as unknown as FetchInput, context), // checked by the schema
    },
    {
      ...shared,
      name: 'http_request',
      description:
        'Sends a request that may change something to a public http or https URL, once: it is never repeated by itself. ' +
        'Gives the status line and the body as text. To read a page use http_fetch.',
      inputSchema: {
        type: 'object',
        properties: {
          url: urlProperty,
          method: { enum: ['POST', 'PUT', 'PATCH', 'DELETE'] },
          headers: headersProperty,
          secret: secretProperty,
          json: { description: 'Any JSON value, sent as application/json' },
          body: { type: 'string', maxLength: maxSentChars, description: 'A text to send instead; say its content-type in headers' },
          raw: { type: 'boolean', description: 'HTML and JSON as they are' },
        },
        required: ['url', 'method'],
        additionalProperties: false,
      },
      effects: 'once',
      execute: (input, context) => exchange(input as unknown as FetchInput, context), // checked by the schema
    },
  ];
}

type Exchange = (request: FetchInput, context: ToolContext) => Promise<ToolResult>;

function createExchange(options: HttpFetchOptions): Exchange {
  const { maxFetches: places = 64, spareFetches: spare = 32, maxWaitMs = 15_000, maxWaiting = 10_000 } = options;
  const { timers, clock = systemClock, observer } = options;
  const shares = createShares({
    ...{ clock, timers, observer, what: 'fetches', places, spare, maxWaitMs, maxWaiting },
    settings: { maxWaitMs: 'httpFetch.maxWaitMs', maxWaiting: 'httpFetch.maxWaiting' },
  });
  const names = createNameResolver();
  return async (request, context) => {
    const { tenantId, sessionId, runId, signal } = context;
    let turn: Awaited<ReturnType<typeof shares.enter>>;
    try {
      turn = await shares.enter({ tenantId, sessionId, runId }, signal);
    } catch (error) {
      // As a result: the time of the call may be over, and yet it is known that nothing was sent.
      if (error instanceof NexusError && error !== signal.reason) return { type: 'error', error: error.toInfo() };
      throw error;
    }
    context.onWait(turn.waitedMs);
    const resolve = (hostname: string, granted: boolean) => (granted ? names.ofOperator(hostname) : names.ofOutside(hostname, signal));
    const agent = createEgressAgent({ resolve, ...options });
    const sending: Sending = { began: false };
    try {
      return { type: 'ok', output: await fetchText(agent, request, context, options, sending) };
    } catch (error) {
      throw explain(error, context, sending);
    } finally {
      await agent.destroy();
      turn.leave();
    }
  };
}

/** Whether something that changes may have reached a server. */
interface Sending {
  began: boolean;
}

/** No connection was made, so that nothing was sent. */
const notSent: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

interface Content {
  readonly bytes: Buffer;
  readonly type: string;
}

function bodyContent({ body, json }: FetchInput): Content | null {
  if (body !== undefined && json !== undefined) throw new NexusError('tool_input_invalid', 'give either json or body');
  if (body !== undefined) return { bytes: Buffer.from(body, 'utf8'), type: 'text/plain; charset=utf-8' };
  if (json === undefined) return null;
  const bytes = Buffer.from(JSON.stringify(json), 'utf8');
  if (bytes.length > maxSentChars)
    throw new NexusError('payload_too_large', `a request may have ${maxSentChars} bytes, this has ${bytes.length}; send less`);
  return { bytes, type: 'application/json' };
}

async function fetchText(
  agent: Dispatcher,
  request: FetchInput,
  context: ToolContext,
  options: HttpFetchOptions,
  sending: Sending,
): Promise<string> {
  const { idleTimeoutMs = 15_000, maxBodyBytes = 1024 * 1024 } = options;
  let { method = 'GET' } = request;
  let content = bodyContent(request);
  let url = parseUrl(request.url);
  let headers = checkHeaders(request.headers ?? {});
  let secret: EdgeSecret | null = null;
  for (let redirects = 0; ; redirects++) {
    requireAllowedUrl(url, options);
    await authorizeHop(url, method, context, options);
    if (redirects === 0 && request.secret !== undefined) {
      secret = await edgeSecretFor(options.secrets ?? noEdgeSecrets, request.secret, url, context);
      requireOwnHeaders(headers, secret);
      // It goes where redirects within the origin lead, and nowhere else: it is none of the plain ones.
      headers[secret.header] = secret.value;
    }
    const isReading = method === 'GET' || method === 'HEAD';
    if (!isReading) sending.began = true;
    const response = await agent.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method,
      body: content?.bytes ?? null,
      // The last one tells any server of ours, also through what passes requests on, that no person at the machine asks.
      headers: {
        ...{ 'user-agent': 'nexus-agent', accept: '*/*' },
        ...(content === null ? {} : { 'content-type': content.type }),
        // The same for each attempt at one call, for servers that know it.
        ...(isReading ? {} : { 'idempotency-key': context.idempotencyKey }),
        ...headers,
        ...{ 'accept-encoding': 'identity', 'x-nexus-fetch': '1' },
      },
      signal: context.signal,
      headersTimeout: idleTimeoutMs,
      bodyTimeout: idleTimeoutMs,
    });
    // A body that is left early, by us or with the agent, raises an error that has no other listener.
    response.body.on('error', () => undefined);
    const { statusCode } = response;
    const location = response.headers.location;
    if (redirectStatuses.has(statusCode) && typeof location === 'string') {
      response.body.destroy();
      if (redirects >= maxRedirects)
        throw new NexusError('tool_failed', `more than ${maxRedirects} redirects; the last led to ${hostnameOf(url)}`);
      if (secret !== null && secret.clean(location) !== location)
        throw new NexusError('tool_failed', 'the server answered with an address that holds the secret it was sent; it is not followed');
      const next = parseUrl(location, url);
      const isElsewhere = next.origin !== url.origin;
      // What was meant for one server is sent to no other; and what was answered with another place to look is not sent again there.
      if (!isReading && isElsewhere && (statusCode === 307 || statusCode === 308))
        throw new NexusError(
          'tool_failed',
          `the server passes the request on to ${hostnameOf(next)}, where it is not sent; call it by that address if it is the right one`,
        );
      if (!isReading && statusCode !== 307 && statusCode !== 308) [method, content] = ['GET', null];
      if (isElsewhere) headers = Object.fromEntries(Object.entries(headers).filter(([name]) => plainHeaders.has(name)));
      url = next;
      continue;
    }
    if (secret !== null && statusCode === 206) {
      response.body.destroy();
      throw new NexusError('tool_failed', 'the server answered with a part, which was not asked for; with a secret sent it is not shown');
    }
    const body = await readBounded(response, maxBodyBytes, context.signal);
    return describe({
      ...{ url, method, response, body, raw: request.raw === true, maxChars: maxBodyBytes, secret },
      ...{ signal: context.signal, timers: options.timers },
    });
  }
}

async function authorizeHop(url: URL, method: string, context: ToolContext, options: HttpFetchOptions): Promise<void> {
  const resource = hostnameOf(url);
  const permission = await context.authorize({
    action: 'net.egress',
    resource,
    context: {
      ...{ port: portOf(url), method, scheme: url.protocol.slice(0, -1) },
      private: options.allowPrivate?.(resource, portOf(url)) === true,
    },
  });
  if (permission.allowed) return;
  throw new NexusError(permission.error.code, permission.error.message, { details: permission.error.details ?? {} });
}

function parseUrl(text: string, base?: URL): URL {
  const url = URL.parse(text, base?.href);
  if (url === null)
    throw new NexusError(
      'tool_input_invalid',
      `${JSON.stringify(text.slice(0, 200))} is no URL; give one such as https://example.com/page`,
    );
  url.hash = '';
  return url;
}

function checkHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      const lower = name.toLowerCase();
      if (!/^[a-z0-9!#$%&'*+.^_`|~-]{1,100}$/.test(lower) || reservedHeaders.test(lower) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
        throw new NexusError('tool_input_invalid', `the header ${JSON.stringify(name.slice(0, 100))} cannot be set`);
      }
      return [lower, value];
    }),
  );
}

/** An answer in parts could give a secret away in pieces that are too small to be found, one in other signs of text in signs that are not looked for. */
const headersOfAnswers = ['range', 'if-range', 'accept-charset'];

function requireOwnHeaders(headers: Readonly<Record<string, string>>, { name, header }: EdgeSecret): void {
  const taken = [header, ...headersOfAnswers].find((each) => Object.hasOwn(headers, each));
  if (taken !== undefined)
    throw new NexusError('tool_input_invalid', `the header ${taken} cannot be set in a request with the secret ${name}; leave it out`);
}

interface Fetched {
  readonly url: URL;
  readonly method: string;
  readonly response: Dispatcher.ResponseData;
  readonly body: BoundedBody;
  readonly raw: boolean;
  readonly maxChars: number;
  /** That was sent, and that the answer may repeat. */
  readonly secret: EdgeSecret | null;
  readonly signal: AbortSignal;
  readonly timers: Pick<Timers, 'soon'>;
}

/** Before pages are made readable, for marks could part it then, and after, for they could have hidden it. */
async function describe(fetched: Fetched): Promise<string> {
  const text = await describeAnswer(fetched);
  return fetched.secret === null ? text : fetched.secret.clean(text);
}

async function describeAnswer({ url, method, response, body, raw, maxChars, secret, signal, timers }: Fetched): Promise<string> {
  const type = String(response.headers['content-type'] ?? '').slice(0, 200);
  const head = `${response.statusCode} ${url.href}${type === '' ? '' : ` (${type})`}`;
  if (method === 'HEAD') {
    const lines = Object.entries(response.headers).filter(([name]) => name !== 'set-cookie');
    return [head, ...lines.map(([name, value]) => `${name}: ${String(value)}`)].join('\n');
  }
  const note = body.complete ? '' : `\n[body cut: the first ${body.bytes.length} bytes were read]`;
  if (body.bytes.length === 0) return `${head}\n\n[no body]`;
  if (type === '' ? body.bytes.includes(0) : !textTypes.test(type.toLowerCase())) {
    return `${head}\n\n[the body is no text: ${body.bytes.length}${body.complete ? '' : ' or more'} bytes]`;
  }
  const text = secret === null ? decodeText(body.bytes, type) : withoutEcho(body, type, secret);
  const shown = raw ? text : await readable(text, type, { maxChars, base: url.href, signal, timers });
  return `${head}\n\n${shown}${note}`;
}

/**
 * As bytes, for a charset that is none of theirs turns them into signs from which they can be told, and as text. Where a body was cut there
 * may stand the beginning of what would have been found.
 */
function withoutEcho({ bytes, complete }: BoundedBody, type: string, secret: EdgeSecret): string {
  const clean = (text: string) => (complete ? secret.clean(text) : secret.cleanStream().push(text));
  return clean(decodeText(Buffer.from(clean(bytes.toString('latin1')), 'latin1'), type));
}

async function readable(
  text: string,
  type: string,
  limits: Parameters<typeof htmlToMarkdown>[1] & { readonly maxChars: number },
): Promise<string> {
  if (/^text\/html|^application\/xhtml/i.test(type)) return htmlToMarkdown(text, limits);
  return /^(application|text)\/([\w.-]+\+)?json\b/i.test(type) ? prettyJson(text, limits.maxChars) : text;
}

/** A failed exchange in words, without addresses. Where a change may have reached the server, nobody knows whether it took effect. */
function explain(error: unknown, context: ToolContext, sending: Sending): unknown {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (sending.began && !notSent.has(code) && !isAnswered(error))
    return new NexusError('tool_outcome_unknown', 'the request was sent and its answer did not come; nobody knows whether it took effect', {
      cause: error,
    });
  if (error instanceof NexusError || context.signal.aborted) return error;
  return new NexusError('tool_failed', `the request failed${code === '' ? '' : ` (${code})`}; check the URL or try later`, {
    cause: error,
  });
}

/** What is refused before it is sent, or said of an answer that came. */
function isAnswered(error: unknown): boolean {
  return error instanceof NexusError && error.code !== 'cancelled' && error.code !== 'tool_timeout';
}
