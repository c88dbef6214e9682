import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Dispatcher } from 'undici';
import { NexusError } from '#core';
import { reservedHeaders } from '../answers.ts';
import { createEgressAgent, createEgressConnector, requireAllowedUrl } from '../egress.ts';
import type { ConnectionLog } from './log.ts';
import { limitReached } from './meter.ts';
import { answerError, answerRefused, outcomeOf } from './refusals.ts';
import { httpTarget, type ProxyTarget, secretGrantFor, tunnelTarget, whyNotGranted } from './target.ts';
import type { EgressProxyOptions, ProxyDefence } from './types.ts';
import { bodyWithoutSecret, headersWithoutSecret, requestWithSecret } from './with-secret.ts';

/** What all requests of a program share. */
export interface ServeEnvironment extends Pick<EgressProxyOptions, 'egress' | 'grants' | 'limits'> {
  readonly log: ConnectionLog;
  readonly without: ReadonlySet<ProxyDefence>;
  /** Fires when the call is over. */
  readonly closing: AbortSignal;
}

const maxHeaders = 100;

/** Answers CONNECT: from then on what comes is passed on as it is. */
export async function serveTunnel(environment: ServeEnvironment, request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
  const { limits, log, without, closing } = environment;
  const ended = new AbortController();
  const signal = AbortSignal.any([ended.signal, closing]);
  const connection = log.begin('tunnel', signal);
  socket.once('close', () => ended.abort(new NexusError('cancelled', 'the program closed its connection')));
  let isOpen = false;
  try {
    const target = tunnelTarget(request.url ?? '', request.rawHeaders, without);
    connection.to(target);
    requireHeaders(request);
    requireGranted(environment, target);
    const upstream = await connectPinned(environment, target, connection.connected, signal);
    if (socket.destroyed || signal.aborted) return void upstream.destroy();
    socket.once('close', () => upstream.destroy());
    if (!without.has('limit-idle'))
      upstream.setTimeout(limits.idleMs, () => socket.destroy(limitReached(`the tunnel was silent for ${limits.idleMs} ms`)));
    // Both ways listen to both ends.
    for (const end of [socket, upstream]) end.setMaxListeners(30);
    isOpen = true;
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    if (head.length > 0) socket.unshift(head);
    try {
      await Promise.all([pipeline(socket, connection.out(), upstream), pipeline(upstream, connection.in(), socket)]);
    } finally {
      upstream.destroy();
      socket.destroy();
    }
    connection.end('ok');
  } catch (error) {
    if (isOpen) socket.destroy();
    else answerError(socket, error);
    // How a tunnel ends is its ends' affair, but for limits.
    connection.end(isOpen && outcomeOf(error) === 'failed' ? 'ok' : outcomeOf(error));
  }
}

/** Reads a request of plain HTTP, and sends it as one of our own. */
export async function serveHttp(environment: ServeEnvironment, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { egress, limits, log, without, closing } = environment;
  const ended = new AbortController();
  const signal = AbortSignal.any([ended.signal, closing]);
  const connection = log.begin('http', signal);
  let agent: Dispatcher | undefined;
  response.once('close', () => ended.abort(new NexusError('cancelled', 'the program closed its connection')));
  try {
    const target = httpTarget(request.method ?? '', request.url ?? '', request.rawHeaders, without);
    connection.to(target);
    requireHeaders(request);
    const granted = secretGrantFor(target, environment.grants);
    if (granted === null) requireGranted(environment, target);
    else {
      requireAllowedUrl(granted.origin, egress);
      connection.sends(granted.secret.name);
    }
    agent = createEgressAgent({ ...egress, onConnected: connection.connected });
    const hasBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
    const body = hasBody ? connection.out() : null;
    // A body that fails fails the request, which is waited for.
    const sending = body === null ? Promise.resolve() : pipeline(request, body).catch((error: Error) => void body.destroy(error));
    const passed = passedHeaders(request.headers, request.headers.connection);
    const plain = { origin: target.url.origin, path: `${target.url.pathname}${target.url.search}`, headers: passed };
    const { origin, path, headers } = granted === null ? plain : requestWithSecret(granted, target, passed);
    const answer = await agent.request({
      ...{ origin, path, body },
      method: target.method as Dispatcher.HttpMethod, // one of those that are passed on
      headers: { ...headers, 'x-nexus-fetch': '1', ...toldHost(environment, request) },
      ...{ signal, headersTimeout: limits.idleMs, bodyTimeout: limits.idleMs },
    });
    answer.body.on('error', () => undefined);
    response.shouldKeepAlive = false;
    const told = passedHeaders(answer.headers, answer.headers.connection);
    if (granted === null) {
      response.writeHead(answer.statusCode, told);
      await pipeline(answer.body, connection.in(), response);
    } else {
      response.writeHead(answer.statusCode, headersWithoutSecret(granted, answer.statusCode, told));
      await pipeline(answer.body, connection.in(), bodyWithoutSecret(granted.secret), response);
    }
    await sending;
    connection.end('ok');
  } catch (error) {
    answerRefused(response, error);
    connection.end(outcomeOf(error));
  } finally {
    await agent?.destroy();
  }
}

/** Throws what keeps the request from being made. */
function requireGranted({ grants, egress, without }: ServeEnvironment, target: ProxyTarget): void {
  const why = whyNotGranted(target, grants, without);
  if (why !== null) throw new NexusError('policy_denied', why);
  // For a tunnel the same rules hold whatever it carries.
  requireAllowedUrl(target.url, egress);
}

function toldHost({ without }: ServeEnvironment, { headers }: IncomingMessage): { host?: string } {
  return without.has('one-host') && headers.host !== undefined ? { host: headers.host } : {};
}

function connectPinned(
  { egress }: ServeEnvironment,
  target: ProxyTarget,
  onConnected: (address: string) => void,
  signal: AbortSignal,
): Promise<Socket> {
  const { url, hostname, port } = target;
  const connector = createEgressConnector({ ...egress, onConnected });
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    connector({ hostname: url.hostname, host: hostname, protocol: 'http:', port: String(port) }, (error, socket) => {
      signal.removeEventListener('abort', onAbort);
      if (error !== null) return reject(error);
      socket.on('error', () => undefined);
      if (signal.aborted) socket.destroy();
      resolve(socket);
    });
  });
}

function requireHeaders({ rawHeaders }: IncomingMessage): void {
  if (rawHeaders.length / 2 > maxHeaders) throw new NexusError('invalid_request', `the request has more than ${maxHeaders} headers`);
}

/** Without what belongs to one connection, by its name or by the word of the header `connection`. */
function passedHeaders(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  connection: string | readonly string[] | undefined,
): Record<string, string[]> {
  const named = new Set(
    String(connection ?? '')
      .split(',')
      .map((name) => name.trim().toLowerCase()),
  );
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name, value]) => value !== undefined && (name === 'accept-encoding' || !reservedHeaders.test(name)) && !named.has(name))
      .map(([name, value]) => [name, [value].flat() as string[]]), // what is undefined is left out
  );
}
