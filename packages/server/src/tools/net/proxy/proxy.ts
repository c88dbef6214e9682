import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Dispatcher } from 'undici';
import { NexusError } from '#core';
import { reservedHeaders } from '../answers.ts';
import { createEgressAgent, createEgressConnector, requireAllowedUrl } from '../egress.ts';
import { createMeter, limitReached } from './meter.ts';
import { httpTarget, type ProxyTarget, tunnelTarget, whyNotGranted } from './target.ts';
import type { EgressProxy, EgressProxyOptions, EgressRecord, ProxyDefence } from './types.ts';

/** So many connections are kept with the result of a call. */
const maxRecords = 50;
const maxHeaders = 100;

/**
 * The one way out of a jail: a proxy for one program, on a socket that only that program is given. It takes tunnels and plain HTTP, one
 * request a connection, to hosts that were granted before; each connection is checked as those of any tool are, and pinned to the address
 * that was checked. A request of plain HTTP is read here and written anew, so that no two of its readers can differ about where it ends.
 */
export async function openEgressProxy(options: EgressProxyOptions): Promise<EgressProxy> {
  const { socketPath, egress, grants, limits, clock, timers, onEgress, without = new Set<ProxyDefence>() } = options;
  const meter = createMeter(limits, clock, timers, without);
  const records: EgressRecord[] = [];
  /** With what gives up a head that is not whole in time. */
  const open = new Map<Socket, () => void>();
  const running = new Set<Promise<void>>();
  const closing = new AbortController();
  let total = 0;

  const server = createServer({
    maxHeaderSize: without.has('limit-header') ? 64 * 1024 * 1024 : limits.headerBytes,
    // By ourselves: a server that takes no more connections looks at those that it has no longer.
    headersTimeout: 0,
    requestTimeout: 0,
    requireHostHeader: false, // HTTP/1.0 has none, and the first line names the host
  });
  server.maxRequestsPerSocket = 1;
  server.maxHeadersCount = 0; // by ourselves: more would be left out without a word

  server.on('connection', (socket: Socket) => {
    socket.on('error', () => undefined);
    total += 1;
    const isLast = total >= limits.totalConnections && !without.has('limit-total-connections');
    // Then the kernel refuses what comes: nobody can make the server take connections on and on.
    if (isLast && server.listening) server.close();
    if (total > limits.totalConnections && !without.has('limit-total-connections')) return void socket.destroy();
    if (open.size >= limits.connections && !without.has('limit-connections')) return void socket.destroy();
    const late = (limit: ProxyDefence, ms: number, then: () => void) => (without.has(limit) ? () => undefined : timers.after(ms, then));
    open.set(
      socket,
      late('limit-idle', limits.idleMs, () => answerRaw(socket, 408, `the head of the request took more than ${limits.idleMs} ms`)),
    );
    const cancel = late('limit-connection-time', limits.connectionMs, () => socket.destroy());
    if (!without.has('limit-idle')) socket.setTimeout(limits.idleMs, () => socket.destroy());
    socket.once('close', () => {
      open.get(socket)?.();
      open.delete(socket);
      cancel();
    });
  });

  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
    answerRaw(socket, status, 'the request is no sound HTTP, or its head is too large');
  });

  server.on('request', (request, response) => {
    open.get(request.socket)?.();
    track(passOn(request, response));
  });
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    open.get(socket)?.();
    track(tunnel(request, socket, head));
  });

  function track(work: Promise<void>): void {
    running.add(work);
    void work.catch(() => undefined).finally(() => running.delete(work));
  }

  /** Throws what keeps the request from being made. */
  function requireGranted(target: ProxyTarget): void {
    const why = whyNotGranted(target, grants, without);
    if (why !== null) throw new NexusError('policy_denied', why);
    // For a tunnel the same rules hold whatever it carries.
    requireAllowedUrl(target.url, egress);
  }

  /** Counts one connection up to its end, however it ends. */
  function begin(kind: EgressRecord['kind'], signal: AbortSignal) {
    const startedAt = clock.monotonic();
    const seen = { sentBytes: 0, receivedBytes: 0 };
    let target: ProxyTarget | undefined;
    let address: string | undefined;
    return {
      to: (known: ProxyTarget) => {
        target = known;
      },
      connected: (known: string) => {
        address = known;
      },
      out: () => meter.measure('out', (bytes) => (seen.sentBytes += bytes), signal),
      in: () => meter.measure('in', (bytes) => (seen.receivedBytes += bytes), signal),
      end(outcome: EgressRecord['outcome']) {
        const record: EgressRecord = {
          ...{ kind, host: target?.hostname ?? '', port: target?.port ?? 0 },
          ...(kind === 'http' && target !== undefined ? { method: target.method } : {}),
          ...(address === undefined ? {} : { address }),
          ...{ ...seen, durationMs: Math.round(clock.monotonic() - startedAt), outcome },
        };
        if (records.length < maxRecords) records.push(record);
        onEgress?.(record);
      },
    };
  }

  async function tunnel(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const ended = new AbortController();
    const signal = AbortSignal.any([ended.signal, closing.signal]);
    const connection = begin('tunnel', signal);
    socket.once('close', () => ended.abort(new NexusError('cancelled', 'the program closed its connection')));
    let isOpen = false;
    try {
      const target = tunnelTarget(request.url ?? '', request.rawHeaders, without);
      connection.to(target);
      requireHeaders(request);
      requireGranted(target);
      const upstream = await connect(target, connection.connected, signal);
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
      else answerRaw(socket, statusOf(error), messageOf(error));
      // How a tunnel ends is its ends' affair, but for limits.
      connection.end(isOpen && outcomeOf(error) === 'failed' ? 'ok' : outcomeOf(error));
    }
  }

  function toldHost({ headers }: IncomingMessage): { host?: string } {
    return without.has('one-host') && headers.host !== undefined ? { host: headers.host } : {};
  }

  function connect(target: ProxyTarget, onConnected: (address: string) => void, signal: AbortSignal): Promise<Socket> {
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

  async function passOn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const ended = new AbortController();
    const signal = AbortSignal.any([ended.signal, closing.signal]);
    const connection = begin('http', signal);
    let agent: Dispatcher | undefined;
    response.once('close', () => ended.abort(new NexusError('cancelled', 'the program closed its connection')));
    try {
      const target = httpTarget(request.method ?? '', request.url ?? '', request.rawHeaders, without);
      connection.to(target);
      requireHeaders(request);
      requireGranted(target);
      agent = createEgressAgent({ ...egress, onConnected: connection.connected });
      const hasBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
      const body = hasBody ? connection.out() : null;
      // A body that fails fails the request, which is waited for.
      const sending = body === null ? Promise.resolve() : pipeline(request, body).catch((error: Error) => void body.destroy(error));
      const answer = await agent.request({
        ...{ origin: target.url.origin, path: `${target.url.pathname}${target.url.search}`, body },
        method: target.method as Dispatcher.HttpMethod, // one of those that are passed on
        headers: { ...passedHeaders(request.headers, request.headers.connection), 'x-nexus-fetch': '1', ...toldHost(request) },
        ...{ signal, headersTimeout: limits.idleMs, bodyTimeout: limits.idleMs },
      });
      answer.body.on('error', () => undefined);
      response.shouldKeepAlive = false;
      response.writeHead(answer.statusCode, passedHeaders(answer.headers, answer.headers.connection));
      await pipeline(answer.body, connection.in(), response);
      await sending;
      connection.end('ok');
    } catch (error) {
      refuse(response, error);
      connection.end(outcomeOf(error));
    } finally {
      await agent?.destroy();
    }
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      server.on('error', () => undefined);
      resolve();
    });
  });

  return {
    records,
    get total() {
      return total;
    },
    async close() {
      if (without.has('ends-with-call')) return;
      closing.abort(new NexusError('cancelled', 'the call is over'));
      const closed = new Promise((resolve) => {
        if (server.listening) server.close(resolve);
        else resolve(undefined);
      });
      for (const socket of open.keys()) socket.destroy();
      await closed;
      await Promise.allSettled(running);
    },
  };
}

function requireHeaders({ rawHeaders }: IncomingMessage): void {
  if (rawHeaders.length / 2 > maxHeaders)
    throw new NexusError('invalid_request', `the request has more than ${maxHeaders} headers`, { details: { status: 431 } });
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

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  response.shouldKeepAlive = false;
  response.writeHead(statusOf(error), { 'content-type': 'text/plain; charset=utf-8', 'x-nexus-proxy': 'refused' });
  response.end(`${messageOf(error)}\n`);
}

function answerRaw(socket: Duplex, status: number, message: string): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy();
  const body = Buffer.from(`${message}\n`);
  socket.end(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`,
      ),
      body,
    ]),
    () => socket.destroy(),
  );
}

const refusedCodes = new Set(['policy_denied', 'address_not_allowed', 'invalid_request', 'tool_input_invalid']);

function outcomeOf(error: unknown): EgressRecord['outcome'] {
  if (!(error instanceof NexusError)) return 'failed';
  if (error.code === 'limit_exceeded') return 'limit';
  return refusedCodes.has(error.code) ? 'refused' : 'failed';
}

function statusOf(error: unknown): number {
  if (!(error instanceof NexusError)) return 502;
  if (error.details?.status === 431) return 431;
  switch (error.code) {
    case 'policy_denied':
    case 'address_not_allowed':
      return 403;
    case 'invalid_request':
    case 'tool_input_invalid':
      return 400;
    case 'limit_exceeded':
      return 413;
    default:
      return 502;
  }
}

function messageOf(error: unknown): string {
  if (error instanceof NexusError) return error.message;
  const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
  return `the host could not be reached, or broke off${code}`;
}
