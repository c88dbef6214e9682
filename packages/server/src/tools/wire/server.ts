import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { NexusError, settlesWithin, type Timers } from '#core';
import type { ToolService } from '#tools/contract';
import { loadDefinition, readDescriptors, serviceName } from './definition.ts';
import { type CallGate, createGate } from './gate.ts';
import { answerFromWire, CancelRequest, callFromWire, ListToolsRequest, toolToWire } from './messages.ts';
import { type ExecuteStream, serveCall } from './serve-call.ts';
import { statusOf } from './status.ts';

/** A certificate with its key, and the authority that certificates of callers are checked against; PEM. */
export interface ServerTls {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** With it, only callers with a certificate of this authority get through. */
  readonly clientCa?: Buffer;
}

export interface ToolServerOptions {
  readonly service: ToolService;
  readonly timers: Timers;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly token?: string | undefined;
  readonly tls?: ServerTls | undefined;
  readonly maxCalls: number;
  readonly maxMessageBytes: number;
  readonly maxConnections: number;
  readonly unreadMs: number;
  readonly keepaliveMs: number;
  readonly onTrouble: (error: unknown, message: string) => void;
}

export interface ToolServer {
  readonly port: number;
  /** Executions that have not ended. */
  readonly running: () => number;
  /**
   * No call begins any more and health says so; those under way may finish within `drainMs`. Then they are cancelled, and every connection
   * is closed. The service is left open.
   */
  close(drainMs: number): Promise<void>;
}

/** How long ends of calls, and answers, may take to reach their readers when the server closes. */
const flushMs = 1_000;
/** How long calls that were cancelled may take to end. */
const lateMs = 5_000;
/**
 * More than the gate ever lets through: a client that goes beyond it, as one with a burst of calls does, loses its connection with all its
 * calls, where the gate refuses one.
 */
const maxStreamsOfConnection = 100_000;
/** A connection without a stream is closed after so long, and made again by whoever needs it. */
const idleMs = 300_000;

/** Serves the tools of a service over gRPC, with health and reflection. Rejects with `unavailable` where the address cannot be bound. */
export async function startToolServer(options: ToolServerOptions): Promise<ToolServer> {
  const { timers, maxMessageBytes, maxConnections, keepaliveMs } = options;
  const calls = createCalls(options);
  const gate = createGate({ ...options, refusal: calls.refusal, running: calls.running });
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc.max_concurrent_streams': maxStreamsOfConnection,
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': Math.min(20_000, keepaliveMs),
    'grpc.max_connection_idle_ms': idleMs,
    'grpc.enable_channelz': 0,
    interceptors: [gate.interceptor],
  });
  const health = new HealthImplementation({ '': 'SERVING', [serviceName]: 'SERVING' });
  health.addToServer(server);
  const described = { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos: readDescriptors() } as const;
  // Of each entry it reads the descriptors alone.
  new ReflectionService({ all: { ...loadDefinition().status, ...described } }, { services: [serviceName] }).addToServer(server);
  server.addService({ ...loadDefinition().service }, calls.handlers);

  // The sockets are ours, so that their number has a limit, and one whose owner takes nothing can be cut.
  const injector = server.createConnectionInjector(credentialsOf(options));
  const listener = createServer({ noDelay: true, keepAlive: true }, (socket) => {
    calls.sockets.add(socket);
    socket.on('close', () => calls.sockets.delete(socket));
    socket.on('error', () => undefined); // what became of its calls is told by their streams
    injector.injectConnection(socket);
  });
  listener.maxConnections = maxConnections;
  await listen(listener, options);
  const address = listener.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  let closing: Promise<void> | undefined;
  return {
    port,
    running: calls.running,
    close(drainMs) {
      closing ??= close({ server, listener, health, calls, gate, timers, drainMs });
      return closing;
    },
  };
}

type Unary = (call: ServerUnaryCall<unknown, object>, reply: sendUnaryData<object>) => void;

function createCalls(options: ToolServerOptions) {
  const { service, onTrouble } = options;
  const sockets = new Set<Socket>();
  const live = new Map<AbortController, { readonly key: string; readonly ended: Promise<void> }>();
  let draining = false;
  const refusal = () =>
    draining ? new NexusError('unavailable', 'the agent core is shutting down; try again in a moment, or elsewhere') : undefined;

  /** Answers with what it gives, or with the status of what it throws. */
  const unary =
    (answer: (request: unknown) => Promise<object>): Unary =>
    (call, reply) => {
      answer(call.request).then(
        (response) => reply(null, response),
        (error: unknown) => {
          if (!(error instanceof NexusError) && !(error instanceof Error && error.name === 'ZodError'))
            onTrouble(error, 'a request to the agent core failed inside');
          reply(statusOf(error));
        },
      );
    };

  /** Its calls have no reader, but what waits for that reader is kept until its connection ends. */
  function cut(stream: ExecuteStream): void {
    const peer = stream.getPeer();
    onTrouble(new Error(peer), 'a client takes nothing of what its calls say, and is disconnected');
    for (const socket of sockets) if (`${socket.remoteAddress}:${socket.remotePort}` === peer) socket.destroy();
  }

  const handlers = {
    ListTools: unary(async (request) => {
      const { tenantId } = ListToolsRequest.parse(request);
      return { tools: (await service.list(tenantId)).map(toolToWire) };
    }),
    Authorize: unary(async (request) => {
      await service.authorize(answerFromWire(request));
      return {};
    }),
    Cancel: unary(async (request) => {
      const key = nameOfCall(CancelRequest.parse(request));
      const found = [...live].filter(([, each]) => each.key === key);
      for (const [controller] of found) controller.abort();
      return { found: found.length > 0 };
    }),
    Execute(stream: ExecuteStream): void {
      stream.on('error', () => undefined); // grpc-js sends it as the status; without a listener of ours it would be logged as nobody's
      const [traceparent] = stream.metadata.get('traceparent');
      const refused = refusal();
      if (refused !== undefined) return void stream.emit('error', statusOf(refused));
      try {
        const call = callFromWire(stream.request, typeof traceparent === 'string' ? traceparent : undefined);
        const controller = new AbortController();
        const ended = serveCall(stream, call, controller, { ...options, onUnread: cut }).finally(() => live.delete(controller));
        live.set(controller, { key: nameOfCall(call), ended });
      } catch (error) {
        stream.emit('error', statusOf(error));
      }
    },
  };
  return {
    handlers,
    sockets,
    refusal,
    running: () => live.size,
    drain: () => {
      draining = true;
    },
    ended: () => Promise.all([...live.values()].map((each) => each.ended)),
    cancel: () => {
      for (const controller of live.keys()) controller.abort();
    },
  };
}

type Calls = ReturnType<typeof createCalls>;

function nameOfCall({
  tenantId,
  callId,
  attempt,
}: {
  readonly tenantId: string;
  readonly callId: string;
  readonly attempt: number;
}): string {
  return `${tenantId} ${callId} ${attempt}`;
}

interface Closing {
  readonly server: Server;
  readonly listener: NetServer;
  readonly health: HealthImplementation;
  readonly calls: Calls;
  readonly gate: CallGate;
  readonly timers: Timers;
  readonly drainMs: number;
}

/** The connections stay until the calls are over: answers to what a tool asks come over them, and so does the health. */
async function close({ server, listener, health, calls, gate, timers, drainMs }: Closing): Promise<void> {
  calls.drain();
  health.setStatus('', 'NOT_SERVING');
  health.setStatus(serviceName, 'NOT_SERVING');
  if (calls.running() > 0 && !(await settlesWithin(timers, calls.ended(), drainMs))) {
    calls.cancel();
    await settlesWithin(timers, calls.ended(), lateMs); // a tool is given up after its grace; a reader that takes nothing is cut below
  }
  for (let waited = 0; gate.open() > 0 && waited < flushMs; waited += 10) await timers.sleep(10);
  const unbound = new Promise<void>((resolve) => listener.close(() => resolve()));
  await settlesWithin(timers, new Promise<void>((resolve) => server.tryShutdown(() => resolve())), flushMs / 4);
  server.forceShutdown();
  for (const socket of calls.sockets) socket.destroy();
  await unbound;
}

function credentialsOf({ tls }: ToolServerOptions): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const { cert, key, clientCa = null } = tls;
  return ServerCredentials.createSsl(clientCa, [{ cert_chain: cert, private_key: key }], clientCa !== null);
}

function listen(listener: NetServer, { host, port }: ToolServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'another program uses it' : (cause.code ?? 'it cannot be bound');
      const message = `the agent core cannot listen on ${host}:${port} (grpc.host, grpc.port): ${why}`;
      reject(new NexusError('unavailable', message, { cause, retryable: false }));
    });
    listener.listen(port, host.replace(/^\[|\]$/g, ''), resolve);
  });
}
