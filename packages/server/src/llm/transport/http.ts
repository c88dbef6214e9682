import { type Dispatcher, Pool } from 'undici';
import { type Clock, NexusError } from '#core';
import { providerError } from '#llm/dialects';
import { createProxyConnector, createTunnelConnector, ProxyError, proxyAuthorization, proxyName, proxyRefusal } from './proxy.ts';
import { readRetryAfterMs } from './retry-after.ts';

export interface TransportOptions {
  /** Name of the provider, for errors. */
  readonly provider: string;
  /** `https://host[:port][/prefix]`; paths of requests are appended to it. */
  readonly baseUrl: string;
  /** `http://[user:password@]host[:port]`, or https: the proxy through which the server is reached. */
  readonly proxy?: string;
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  /** Longest wait for the first byte of an answer, its head not counted. Default: the deadline of the call. */
  readonly firstByteTimeoutMs?: number;
  /** Longest pause between two chunks of an answer. Default 5 min. */
  readonly idleTimeoutMs?: number;
}

export interface TransportRequest {
  readonly path: string;
  readonly model: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Deadline for the whole call, from now. */
  readonly timeoutMs: number;
}

/**
 * Called in order: `sent`, then data, then exactly one of `end` and `error` (neither after `abort`). A throw in `data` or
 * `end` ends the call and comes back as the error.
 */
export interface TransportHandler {
  sent(): void;
  data(chunk: Buffer): void;
  end(): void;
  error(error: NexusError): void;
}

export interface TransportCall {
  /** Stops reading the socket, and the idle clock with it. */
  pause(): void;
  resume(): void;
  /** Destroys the socket at once; no further callback. */
  abort(): void;
  /** The answer is complete: no further callback. A server that does not end its response soon is cut off. */
  detach(): void;
}

export interface Transport {
  /** Posts and streams the answer of a server that answers with an event stream; any other answer is an `error`. */
  stream(request: TransportRequest, handler: TransportHandler): TransportCall;
  getJson(path: string, options: { readonly headers: Readonly<Record<string, string>>; readonly timeoutMs: number }): Promise<unknown>;
  /** Ends every call. */
  close(): Promise<void>;
}

const maxErrorBodyBytes = 64 * 1024;
const maxJsonBytes = 8_000_000;
const lingerMs = 500;
/** Node fires a timer of more than this at once. */
const maxTimerMs = 2_147_483_647;

/** HTTP to one provider on a keep-alive pool (undici sets TCP_NODELAY). Redirects are not followed: they would carry the key elsewhere. */
export function createTransport(options: TransportOptions): Transport {
  const base = new URL(options.baseUrl);
  const idleTimeoutMs = options.idleTimeoutMs ?? 300_000;
  const { pool, pathPrefix: prefix, headers: hopHeaders, forwarder } = openPool(base, options);

  return {
    stream(request, handler) {
      const setup = { ...options, idleTimeoutMs, pool, hopHeaders, forwarder, path: prefix + request.path };
      return openStream(setup, request, handler);
    },
    async getJson(path, { headers, timeoutMs }) {
      const response = await pool.request({
        method: 'GET',
        path: prefix + path,
        headers: { accept: 'application/json', ...hopHeaders, ...headers },
        signal: AbortSignal.timeout(timeoutMs),
      });
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of response.body) {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > maxJsonBytes) throw new NexusError('provider_malformed', `${options.provider} sent too large an answer`);
      }
      const text = Buffer.concat(chunks).toString('utf8'); // as a whole: a chunk may end within a character
      if (response.statusCode !== 200) {
        throw providerError({ provider: options.provider, model: '', status: response.statusCode, body: parseBody(text) });
      }
      return parseBody(text);
    },
    close: () => pool.destroy(),
  };
}

interface OpenedPool {
  readonly pool: Pool;
  readonly pathPrefix: string;
  /** Sent with every request besides its own: for a proxy that reads them. */
  readonly headers: Readonly<Record<string, string>>;
  /** A proxy that answers in the server's stead. */
  readonly forwarder: URL | null;
}

/** Connections to the server, to a proxy that passes them on (`https`), or to one that asks the server itself (`http`). */
function openPool(base: URL, { proxy: address, connectTimeoutMs: timeout = 10_000 }: TransportOptions): OpenedPool {
  const path = base.pathname.replace(/\/+$/, '');
  // Our own timers: undici's are a second coarse and cannot tell which limit was hit.
  const common = { headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: 10_000 };
  if (address === undefined) {
    return { pool: new Pool(base.origin, { ...common, connect: { timeout } }), pathPrefix: path, headers: {}, forwarder: null };
  }
  const proxy = new URL(address);
  if (base.protocol === 'https:') {
    const pool = new Pool(base.origin, { ...common, connect: createTunnelConnector(proxy, timeout) });
    return { pool, pathPrefix: path, headers: {}, forwarder: null };
  }
  return {
    // A connection for each request: many a proxy forgets whom it speaks with after the first.
    pool: new Pool(proxy.origin, { ...common, pipelining: 0, connect: createProxyConnector(proxy, timeout) }),
    pathPrefix: base.origin + path,
    headers: { host: base.host, ...proxyAuthorization(proxy) },
    forwarder: proxy,
  };
}

interface StreamSetup extends TransportOptions {
  readonly hopHeaders: Readonly<Record<string, string>>;
  readonly forwarder: URL | null;
  readonly idleTimeoutMs: number;
  readonly pool: Pool;
  readonly path: string;
}

function openStream(setup: StreamSetup, request: TransportRequest, handler: TransportHandler): TransportCall {
  const { provider } = setup;
  let controller: Dispatcher.DispatchController | null = null;
  let settled = false; // no callback may follow
  let aborted = false;
  let paused = false;
  let failure: FailedAnswer | null = null; // an answer that is not a stream: its body is collected
  let started = false;
  // Many a server sends the head at once and thinks then: what is waited for is the first byte behind it.
  let flowing = false;
  let idle = watch();
  const deadline = setTimeout(onDeadline, Math.min(request.timeoutMs, maxTimerMs));
  let linger: NodeJS.Timeout | undefined;

  function watch(): NodeJS.Timeout | undefined {
    const limit = flowing ? setup.idleTimeoutMs : setup.firstByteTimeoutMs;
    return limit === undefined ? undefined : setTimeout(onIdle, limit);
  }

  function flow(): void {
    if (flowing) return void idle?.refresh();
    flowing = true;
    clearTimeout(idle);
    idle = watch();
  }

  function settle(): boolean {
    if (settled) return false;
    settled = true;
    clearTimeout(idle);
    clearTimeout(deadline);
    return true;
  }

  function destroy(): void {
    aborted = true;
    controller?.abort(new Error('aborted by the client'));
  }

  function fail(error: NexusError): void {
    if (!settle()) return;
    destroy();
    handler.error(error);
  }

  function onIdle(): void {
    const what = flowing ? `sent nothing for ${setup.idleTimeoutMs} ms` : `did not answer within ${setup.firstByteTimeoutMs} ms`;
    fail(timeoutError(flowing ? 'idle' : 'first_byte', what));
  }

  function onDeadline(): void {
    fail(timeoutError('total', `did not finish within ${request.timeoutMs} ms`));
  }

  function timeoutError(limit: string, what: string): NexusError {
    return new NexusError('provider_timeout', `${provider} ${what}`, { details: { provider, model: request.model, limit } });
  }

  setup.pool.dispatch(
    {
      method: 'POST',
      path: setup.path,
      headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...setup.hopHeaders, ...request.headers },
      body: request.body,
    },
    {
      onRequestStart(received) {
        controller = received;
        if (aborted) received.abort(new Error('aborted by the client'));
        else handler.sent();
      },
      onResponseStart(_controller, status, headers) {
        if (status < 200 || settled) return; // 1xx is not the answer
        started = true;
        const header = (name: string) => {
          const value = headers[name];
          return Array.isArray(value) ? value[0] : value;
        };
        const contentType = header('content-type') ?? '';
        if (status === 200 && (contentType === '' || contentType.startsWith('text/event-stream'))) return;
        const retryAfterMs = readRetryAfterMs(header, setup.clock.now());
        flow();
        failure = { status, contentType, retryAfterMs, requestId: header('x-request-id') ?? header('request-id'), chunks: [], bytes: 0 };
      },
      onResponseData(_controller, chunk) {
        if (settled) return;
        if (failure !== null) {
          failure.chunks.push(chunk);
          failure.bytes += chunk.length;
          if (failure.bytes > maxErrorBodyBytes) fail(answerError(setup, request, failure));
          return;
        }
        flow();
        try {
          handler.data(chunk);
        } catch (error) {
          fail(asNexusError(error));
        }
      },
      onResponseEnd() {
        clearTimeout(linger);
        if (!settle()) return;
        if (failure !== null) return handler.error(answerError(setup, request, failure));
        try {
          handler.end();
        } catch (error) {
          handler.error(asNexusError(error));
        }
      },
      onResponseError(_controller, error) {
        clearTimeout(linger);
        if (!settle()) return;
        if (failure !== null) handler.error(answerError(setup, request, failure));
        else handler.error(socketError(setup, request, started, error));
      },
    },
  );

  return {
    pause() {
      if (settled || paused || controller === null) return;
      paused = true;
      clearTimeout(idle);
      controller.pause();
    },
    resume() {
      if (!paused) return;
      paused = false;
      if (settled) return;
      idle = watch();
      controller?.resume();
    },
    abort() {
      if (settle()) destroy();
    },
    detach() {
      if (!settle()) return;
      if (paused) controller?.resume();
      linger = setTimeout(() => controller?.abort(new Error('the response did not end')), lingerMs);
      linger.unref();
    },
  };
}

interface FailedAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly retryAfterMs: number | undefined;
  readonly requestId: string | undefined;
  readonly chunks: Buffer[];
  bytes: number;
}

function answerError(setup: StreamSetup, request: TransportRequest, answer: FailedAnswer): NexusError {
  const { provider } = setup;
  if (answer.status === 407 && setup.forwarder !== null) return proxyFailure(setup, request, proxyRefusal(setup.forwarder, 407));
  const body = parseBody(Buffer.concat(answer.chunks).subarray(0, maxErrorBodyBytes).toString('utf8'));
  const told = typeof body === 'object' && body !== null && 'error' in body;
  if (answer.status >= 200 && answer.status < 300 && !told) {
    const kind = answer.contentType.split(';')[0]?.slice(0, 80) || 'nothing';
    return new NexusError('provider_malformed', `${provider} answered with ${kind} (status ${answer.status}) instead of an event stream`, {
      details: { provider, model: request.model, status: answer.status },
    });
  }
  const { status, retryAfterMs, requestId } = answer;
  return providerError({
    provider,
    model: request.model,
    body,
    ...(status >= 200 && status < 300 ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(requestId === undefined ? {} : { requestId }),
  });
}

function socketError(setup: StreamSetup, request: TransportRequest, started: boolean, cause: Error): NexusError {
  const { provider } = setup;
  const details = { provider, model: request.model };
  if (started) {
    const message = `the connection to ${provider} broke in the middle of the stream; the answer is not complete`;
    return new NexusError('provider_stream_cut', message, { details, cause });
  }
  if (cause instanceof ProxyError) return proxyFailure(setup, request, cause);
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
  if (code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new NexusError('provider_timeout', `no connection to ${provider} in time`, { details: { ...details, limit: 'connect' }, cause });
  }
  const way = setup.proxy === undefined ? '' : ` through the proxy ${proxyName(new URL(setup.proxy))}`;
  return new NexusError('provider_unavailable', `${provider} cannot be reached${way} (${code}); check the base URL and the network`, {
    details,
    cause,
  });
}

function proxyFailure({ provider }: StreamSetup, { model }: TransportRequest, cause: ProxyError): NexusError {
  const message = `${provider} cannot be reached: ${cause.message}`;
  if (cause.kind === 'timeout') {
    return new NexusError('provider_timeout', message, { details: { provider, model, limit: 'connect' }, cause });
  }
  const final = cause.kind === 'refused' ? { retryable: false } : {};
  return new NexusError('provider_unavailable', message, { details: { provider, model }, cause, ...final });
}

function asNexusError(error: unknown): NexusError {
  if (error instanceof NexusError) return error;
  return new NexusError('internal', 'reading the answer of a provider failed; see the log', { cause: error });
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text.length === 0 ? null : { message: text.replace(/<[^>]*>/g, ' ') };
  }
}
