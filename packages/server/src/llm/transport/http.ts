import { dictionary } from '@nexus-agent/protocol';
import type { Dispatcher } from 'undici';
import { type Clock, isTooDeep, NexusError, redactForeignText, type SecretValues } from '#core';
import { providerError } from '#llm/dialects';
import { openConnections, type ProviderConnections } from './connections.ts';
import { type BodyPipe, createBodyPipe, readEncodings } from './encodings.ts';
import { versionHint } from './model-list.ts';
import { proxyRefusal } from './proxy.ts';
import { proxyFailure, reachError } from './reach.ts';
import { readRetryAfterMs } from './retry-after.ts';
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

/** What the head of an answer says. */
export interface AnswerHead {
  readonly status: number;
  /** Empty when there is none. */
  readonly contentType: string;
  readonly retryAfterMs?: number;
  readonly requestId?: string;
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

const maxErrorBodyBytes = 64 * 1024;
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
/** Node fires a timer of more than this at once. */
const maxTimerMs = 2_147_483_647;

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
  const slices = createSlicedWork({ clock: setup.clock, data: onSlice, congested: flow.sliced });

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

  function onHead(head: RefusalHead, encodings: readonly string[] | null): void {
    if (head.status >= 300) {
      const refusal = createRefusal(setup, request, head);
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
      if (flow.isHeld) controller?.resume();
      linger = setTimeout(() => controller?.abort(new Error('the response did not end')), lingerMs);
      linger.unref();
    },
  };
}

interface FlowParts {
  isSettled(): boolean;
  controller(): Dispatcher.DispatchController | null;
  body(): BodyPipe | null;
}

/** What keeps an answer from being read on: its reader, its unpacking, and the turns of others. */
function createFlow({ isSettled, controller, body }: FlowParts) {
  let paused = false;
  let congested = false; // the body is decompressed more slowly than it comes
  let sliced = false; // others are to have their turn before more of it is read
  const isHeld = () => congested || sliced || paused;
  function flow(): void {
    if (isSettled()) return;
    if (isHeld()) controller()?.pause();
    else controller()?.resume();
  }
  return {
    get isHeld() {
      return isHeld();
    },
    congested(wait: boolean): void {
      congested = wait;
      flow();
    },
    /** What is packed may be any amount: its unpacking waits, too. */
    sliced(wait: boolean): void {
      sliced = wait;
      if (isSettled()) return;
      if (wait || paused) body()?.pause();
      else body()?.resume();
      flow();
    },
    /** Whether it was not paused before, and can be. */
    pause(): boolean {
      if (isSettled() || paused || controller() === null) return false;
      paused = true;
      controller()?.pause();
      body()?.pause();
      return true;
    },
    /** Whether it was paused, and is to go on by `go`. */
    unpause(): boolean {
      if (!paused) return false;
      paused = false;
      return !isSettled();
    },
    go(): void {
      if (!sliced) body()?.resume();
      flow();
    },
  };
}

/** What becomes of one exchange. Nothing but the first and the last two is called once it is settled. */
interface ExchangeHandler {
  isSettled(): boolean;
  fail(error: NexusError): void;
  onStart(controller: Dispatcher.DispatchController): void;
  onHead(head: RefusalHead, encodings: readonly string[] | null): void;
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

/** The clocks of one call: the first byte, the silence within the answer, and the whole. */
function watchTime(
  { firstByteTimeoutMs, idleTimeoutMs }: Pick<StreamSetup, 'firstByteTimeoutMs' | 'idleTimeoutMs'>,
  totalTimeoutMs: number,
  onTimeout: (limit: 'first_byte' | 'idle' | 'total', what: string) => void,
) {
  // Many a server sends the head at once and thinks then: what is waited for is the first byte behind it.
  let flowing = false;
  let silence = watch();
  const onLate = () => onTimeout('total', `did not finish within ${totalTimeoutMs} ms`);
  const deadline = setTimeout(onLate, Math.min(totalTimeoutMs, maxTimerMs));

  function watch(): NodeJS.Timeout | undefined {
    const limit = flowing ? idleTimeoutMs : firstByteTimeoutMs;
    return limit === undefined ? undefined : setTimeout(onSilence, Math.min(limit, maxTimerMs));
  }

  function onSilence(): void {
    if (flowing) onTimeout('idle', `sent nothing for ${idleTimeoutMs} ms`);
    else onTimeout('first_byte', `did not answer within ${firstByteTimeoutMs} ms`);
  }

  function pause(): void {
    clearTimeout(silence);
    silence = undefined;
  }

  function resume(): void {
    pause();
    silence = watch();
  }

  return {
    /** A part of the body came. */
    heard(): void {
      if (flowing) return void silence?.refresh();
      flowing = true;
      resume();
    },
    /** The body is not read: its silence is ours. */
    pause,
    resume,
    stop(): void {
      pause();
      clearTimeout(deadline);
    },
  };
}

/** An answer whose status is no success, with as much of its body as says why. */
interface Refusal {
  /** The bytes so far. */
  add(chunk: Buffer): number;
  error(): NexusError;
}

function createRefusal(setup: StreamSetup, request: TransportRequest, { contentType: _, location, ...told }: RefusalHead): Refusal {
  const { provider } = setup;
  const { forwarder } = setup.connections;
  const { model } = request;
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    add(chunk) {
      chunks.push(chunk);
      bytes += chunk.length;
      return bytes;
    },
    error() {
      if (told.status === 407 && forwarder !== null) return proxyFailure(setup, proxyRefusal(forwarder, 407), model);
      if (told.status < 400) return redirected(setup, model, told.status, location);
      const body = parseBody(Buffer.concat(chunks).subarray(0, maxErrorBodyBytes).toString('utf8'));
      const isWrongPlace = (told.status === 404 || told.status === 405) && new URL(setup.baseUrl).pathname === '/';
      return providerError({ provider, model, body, secrets: setup.secrets, ...told, ...(isWrongPlace ? { hint: versionHint } : {}) });
    },
  };
}

/** Redirects are not followed: they would carry the key elsewhere. */
function redirected({ provider, baseUrl, secrets }: StreamSetup, model: string, status: number, location = ''): NexusError {
  const target = URL.parse(location, baseUrl);
  const named = target === null || location === '' ? 'elsewhere' : `${target.origin}${target.pathname}`;
  const where = redactForeignText(secrets?.inForeign(named) ?? named).slice(0, 200);
  const message = `${provider} redirects requests to ${where} (status ${status}), which is not followed; check the base URL`;
  return new NexusError('provider_rejected', message, { details: { provider, model, status } });
}

type RefusalHead = AnswerHead & { readonly location?: string | undefined };

function readHead(status: number, header: (name: string) => string | undefined, nowMs: number): RefusalHead {
  const retryAfterMs = readRetryAfterMs(header, nowMs);
  const requestId = header('x-request-id') ?? header('request-id');
  return {
    status,
    contentType: header('content-type') ?? '',
    location: header('location'),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(requestId === undefined ? {} : { requestId }),
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
  const chunks: Buffer[] = [];
  let bytes = 0;
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  const data = (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) return void chunks.push(chunk);
    body.destroy(); // a little that is compressed may be any amount
    resolve();
  };
  const body = createBodyPipe({ encodings, data, end: resolve, error: reject, congested: () => undefined });
  try {
    const reading = (async () => {
      for await (const chunk of source) {
        body.push(chunk);
        if (bytes > maxBytes) return;
      }
      body.end();
    })();
    reading.catch(() => undefined);
    ended.catch(() => undefined);
    await Promise.race([reading, ended]);
    if (bytes <= maxBytes) await Promise.all([reading, ended]);
    return bytes > maxBytes ? null : Buffer.concat(chunks);
  } finally {
    body.destroy();
  }
}

function firstOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
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

function parseBody(text: string): unknown {
  if (isTooDeep(text)) return null;
  try {
    return JSON.parse(text);
  } catch {
    return text.length === 0 ? null : { message: withoutTags(text.slice(0, maxErrorBodyBytes)) };
  }
}

/** In one pass, whatever marks are left open. */
function withoutTags(text: string): string {
  let kept = '';
  for (let at = 0; at < text.length; ) {
    const open = text.indexOf('<', at);
    const close = open === -1 ? -1 : text.indexOf('>', open);
    if (close === -1) return kept + text.slice(at);
    kept += `${text.slice(at, open)} `;
    at = close + 1;
  }
  return kept;
}
