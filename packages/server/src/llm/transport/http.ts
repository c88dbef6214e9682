import { dictionary } from '@nexus-agent/protocol';
import type { Dispatcher } from 'undici';
import { BytePieces, type Clock, NexusError, type SecretValues } from '#core';
import { providerError } from '#llm/dialects';
import { watchTime } from './clocks.ts';
import { openConnections, type ProviderConnections } from './connections.ts';
import { type BodyPipe, createBodyPipe, readEncodings } from './encodings.ts';
import { createFlow } from './flow.ts';
import { type AnswerHead, firstOf, type ReceivedHead, readHead } from './head.ts';
import { reachError } from './reach.ts';
import { createRefusal, maxErrorBodyBytes, parseBody, type Refusal } from './refusal.ts';
import { createSlicedWork } from './turns.ts';

export interface TransportOptions {
  /** Name of the provider, for errors. */
  readonly provider: string;
  /** `https://host[:port][/prefix][?query]`; paths of requests are appended to the prefix, and each is sent with the query. */
  readonly baseUrl: string;
  /** `http://[user:password@]host[:port]`, or https: the proxy through which the server is reached. */
  readonly proxy?: string;
  /** What is sent to the server and must not come back in its errors. */
  readonly secrets?: SecretValues | undefined;
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
 * Called in order: `sent`, then `head` and data of an answer whose status is a success (another one is an `error`), then exactly
 * one of `end` and `error` (neither after `abort`). A throw in `head`, `data` or `end` ends the call and comes back as the error.
 */
export interface TransportHandler {
  sent(): void;
  head(head: AnswerHead): void;
  /** Bytes of the body, decompressed. */
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

export interface JsonQuestion {
  readonly path: string;
  /** Below the address without its version (`/v1`), where servers have what is not of the protocol. */
  readonly fromRoot?: boolean;
  readonly headers: Readonly<Record<string, string>>;
  /** Posted when there is one. */
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface Transport {
  /** Posts and streams the body of the answer, whatever it is. */
  stream(request: TransportRequest, handler: TransportHandler): TransportCall;
  /** Asks for JSON; rejects with the provider's error, also when it is no JSON or too much. */
  json(question: JsonQuestion): Promise<unknown>;
  /** Ends every call. */
  close(): Promise<void>;
}

/** How long the words of a refusal may take to arrive: the refusal is known without them. */
const refusalMs = 10_000;
/** Lists of models and counts: gateways list some hundreds of models with descriptions, in less than a megabyte. */
const maxJsonBytes = 3_000_000;
/** Pieces of a body of less than an event's frame: so many of them are nobody's answer, and each takes its time. */
const crumbBytes = 8;
const maxCrumbs = 50_000;
/** What a server may say before its answer: `100 Continue`, early hints. */
const maxInterimAnswers = 32;
const lingerMs = 500;

/** HTTP to one provider on a keep-alive pool (undici sets TCP_NODELAY). Redirects are not followed: they would carry the key elsewhere. */
export function createTransport(options: TransportOptions): Transport {
  const base = new URL(options.baseUrl);
  const idleTimeoutMs = options.idleTimeoutMs ?? 300_000;
  const connections = openConnections(options);
  const { pool, pathPrefix, headers: hopHeaders } = connections;
  const whole = (path: string) => pathPrefix + path + base.search;

  return {
    stream(request, handler) {
      return openStream({ ...options, idleTimeoutMs, connections, path: whole(request.path) }, request, handler);
    },
    async json({ path, fromRoot = false, headers, body, timeoutMs, signal }) {
      const limit = AbortSignal.timeout(timeoutMs);
      const response = await pool
        .request({
          ...(body === undefined ? { method: 'GET' } : { method: 'POST', body: JSON.stringify(body) }),
          path: fromRoot ? pathPrefix.replace(/\/v\d+$/, '') + path + base.search : whole(path),
          headers: {
            accept: 'application/json',
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...hopHeaders,
            ...headers,
          },
          signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
        })
        .catch((cause: unknown) => {
          throw unanswered(options, cause, timeoutMs);
        });
      const encodings = readEncodings(firstOf(response.headers['content-encoding']) ?? '');
      response.body.on('error', () => undefined); // also of one that is left before its end
      const bytes = encodings === null ? null : await collectBody(response.body, encodings, maxJsonBytes);
      response.body.destroy();
      if (bytes === null)
        throw new NexusError('provider_malformed', `${options.provider} sent an answer that is too large or cannot be read`);
      const text = bytes.toString('utf8'); // as a whole: a chunk may end within a character
      if (response.statusCode !== 200) {
        throw providerError({
          provider: options.provider,
          model: '',
          secrets: options.secrets,
          status: response.statusCode,
          body: parseBody(text),
        });
      }
      return parseBody(text);
    },
    close: () => pool.destroy(),
  };
}

interface StreamSetup extends TransportOptions {
  readonly idleTimeoutMs: number;
  readonly connections: ProviderConnections;
  readonly path: string;
}

function openStream(setup: StreamSetup, request: TransportRequest, handler: TransportHandler): TransportCall {
  const { provider } = setup;
  let controller: Dispatcher.DispatchController | null = null;
  let settled = false; // no callback may follow
  let aborted = false;
  let refused: Refusal | null = null;
  let body: BodyPipe | null = null;
  const waiting = watchTime(setup, request.timeoutMs, (limit, what) => {
    fail(new NexusError('provider_timeout', `${provider} ${what}`, { details: { provider, model: request.model, limit } }));
  });
  let linger: NodeJS.Timeout | undefined;
  let lateRefusal: NodeJS.Timeout | undefined;
  const flow = createFlow({ isSettled: () => settled, controller: () => controller, body: () => body });
  const slices = createSlicedWork({ data: onSlice, congested: flow.sliced });

  function settle(): boolean {
    if (settled) return false;
    settled = true;
    waiting.stop();
    clearTimeout(lateRefusal);
    slices.stop();
    body?.destroy();
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

  function onHead(head: ReceivedHead, encodings: readonly string[] | null): void {
    if (head.status >= 300) {
      const refusal = createRefusal(setup, request.model, head);
      // What cannot be read says nothing.
      if (encodings === null) return void fail(refusal.error());
      refused = refusal;
      lateRefusal = setTimeout(() => fail(refusal.error()), refusalMs);
    } else if (encodings === null)
      throw unreadable(provider, request.model, 'in an encoding that nobody asked for and that cannot be read', { retryable: false });
    else handler.head(head);
    body = createBodyPipe({
      encodings: encodings ?? [],
      data: onData,
      end: () => slices.after(onEnd),
      error: (cause) =>
        fail(refused === null ? unreadable(provider, request.model, 'whose compression is broken', { cause }) : refused.error()),
      congested: flow.congested,
    });
  }

  function onData(chunk: Buffer): void {
    if (settled) return;
    waiting.heard();
    if (refused !== null) {
      if (refused.add(chunk) > maxErrorBodyBytes) fail(refused.error());
      return;
    }
    slices.push(chunk);
  }

  function onSlice(chunk: Buffer): void {
    if (settled) return;
    try {
      handler.data(chunk);
    } catch (error) {
      fail(asNexusError(error));
    }
  }

  function onEnd() {
    if (!settle()) return;
    if (refused !== null) return handler.error(refused.error());
    try {
      handler.end();
    } catch (error) {
      handler.error(asNexusError(error));
    }
  }

  const exchange = createExchange(setup, request, {
    isSettled: () => settled,
    fail,
    onStart(received) {
      controller = received;
      if (aborted) received.abort(new Error('aborted by the client'));
      else handler.sent();
    },
    onHead,
    onBytes: (chunk) => body?.push(chunk),
    onEnd() {
      clearTimeout(linger);
      if (!settled) body?.end();
    },
    onLost(error) {
      clearTimeout(linger);
      slices.after(() => {
        if (settle()) handler.error(refused?.error() ?? error);
      });
    },
  });

  const headers = dictionary({
    accept: 'text/event-stream',
    'content-type': 'application/json',
    ...setup.connections.headers,
    ...request.headers,
  });
  setup.connections.pool.dispatch({ method: 'POST', path: setup.path, headers, body: request.body }, exchange);
  return {
    pause() {
      if (!flow.pause()) return;
      waiting.pause();
      slices.pause();
    },
    resume() {
      if (!flow.unpause()) return;
      waiting.resume();
      slices.resume();
      flow.go();
    },
    abort() {
      if (settle()) destroy();
    },
    detach() {
      if (!settle()) return;
      if (flow.isHeld()) controller?.resume();
      linger = setTimeout(() => controller?.abort(new Error('the response did not end')), lingerMs);
      linger.unref();
    },
  };
}

/** What becomes of one exchange. Nothing but the first and the last two is called once it is settled. */
interface ExchangeHandler {
  isSettled(): boolean;
  fail(error: NexusError): void;
  onStart(controller: Dispatcher.DispatchController): void;
  onHead(head: ReceivedHead, encodings: readonly string[] | null): void;
  onBytes(chunk: Buffer): void;
  onEnd(): void;
  onLost(error: NexusError): void;
}

/** An exchange as the connection sees it. It is given up when it only ever begins, or comes in nothing but crumbs. */
function createExchange(setup: StreamSetup, request: TransportRequest, handler: ExchangeHandler): Dispatcher.DispatchHandler {
  let interims = 0;
  let crumbs = 0;
  let started = false;
  const giveUp = (how: string) => handler.fail(unreadable(setup.provider, request.model, how, { retryable: false }));
  return {
    onRequestStart: (controller) => handler.onStart(controller),
    onResponseStart(_controller, status, headers) {
      if (handler.isSettled()) return;
      if (status < 200) {
        interims += 1; // 1xx is not the answer
        if (interims > maxInterimAnswers) giveUp('that only ever begins');
        return;
      }
      started = true;
      try {
        const header = (name: string) => firstOf(headers[name]);
        handler.onHead(readHead(status, header, setup.clock.now()), readEncodings(header('content-encoding') ?? ''));
      } catch (error) {
        handler.fail(asNexusError(error));
      }
    },
    onResponseData(_controller, chunk) {
      if (handler.isSettled()) return;
      if (chunk.length < crumbBytes) crumbs += 1;
      if (crumbs > maxCrumbs) giveUp('in pieces that are too small');
      else handler.onBytes(chunk);
    },
    onResponseEnd: () => handler.onEnd(),
    onResponseError: (_controller, error) => handler.onLost(socketError(setup, request, started, error)),
  };
}

/** Why a question got no answer: it took too long, or there is no way to the server. */
function unanswered(options: TransportOptions, cause: unknown, timeoutMs: number): unknown {
  if (!(cause instanceof Error) || cause.name === 'AbortError') return cause;
  const { provider, baseUrl } = options;
  if (cause.name !== 'TimeoutError') return reachError(options, cause);
  return new NexusError('provider_timeout', `${provider} did not answer within ${timeoutMs} ms at ${new URL(baseUrl).origin}`, { cause });
}

/** The whole of a body, decompressed; null when it is larger than that. */
async function collectBody(source: AsyncIterable<Buffer>, encodings: readonly string[], maxBytes: number): Promise<Buffer | null> {
  const pieces = new BytePieces();
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  const data = (chunk: Buffer) => {
    pieces.add(chunk);
    if (pieces.bytes <= maxBytes) return;
    body.destroy(); // a little that is compressed may be any amount
    resolve();
  };
  const body = createBodyPipe({ encodings, data, end: resolve, error: reject, congested: () => undefined });
  try {
    const reading = (async () => {
      for await (const chunk of source) {
        body.push(chunk);
        if (pieces.bytes > maxBytes) return;
      }
      body.end();
    })();
    reading.catch(() => undefined);
    ended.catch(() => undefined);
    await Promise.race([reading, ended]);
    if (pieces.bytes <= maxBytes) await Promise.all([reading, ended]);
    return pieces.bytes > maxBytes ? null : pieces.concat();
  } finally {
    body.destroy();
  }
}

function unreadable(provider: string, model: string, what: string, more: { readonly retryable?: boolean; readonly cause?: unknown }) {
  return new NexusError('provider_malformed', `${provider} sent an answer ${what}`, { details: { provider, model }, ...more });
}

function socketError(setup: StreamSetup, request: TransportRequest, started: boolean, cause: Error): NexusError {
  const { provider } = setup;
  const details = { provider, model: request.model };
  if (started) {
    const message = `the connection to ${provider} broke in the middle of the stream; the answer is not complete`;
    return new NexusError('provider_stream_cut', message, { details, cause });
  }
  return reachError(setup, cause, request.model);
}

function asNexusError(error: unknown): NexusError {
  if (error instanceof NexusError) return error;
  return new NexusError('internal', 'reading the answer of a provider failed; see the log', { cause: error });
}
