import { ChannelCredentials, Client, connectivityState, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';
import type { EffectsClass } from '@nexus-agent/protocol';
import { abortError, type Clock, createCountedCache, NexusError, settlesWithin, type Timers } from '#core';
import type { ToolCall, ToolDescriptor, ToolService } from '#tools/contract';
import { createCoreLosses, type LossOptions } from './core-losses.ts';
import { loadDefinition } from './definition.ts';
import { answerToWire, CancelResponse, callToWire, ListToolsResponse } from './messages.ts';
import { type CallConnection, RemoteCall, refusalByPeer } from './remote-call.ts';
import { errorOf } from './status.ts';

/** How a connection is kept from others; PEM. */
export interface ClientTls {
  /** Authorities for the certificate of the agent core; those of the system when left out. */
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** The name in its certificate, where that is not the one it is reached by. */
  readonly serverName?: string;
}

export interface RemoteToolsOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** `host:port`. */
  readonly address: string;
  readonly token?: string | undefined;
  readonly tls?: ClientTls | undefined;
  /** How long a call waits for the agent core to be reached. */
  readonly connectTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly keepaliveMs: number;
  /** Hears why the tools could not be listed, when what was known before is given instead. */
  readonly onTrouble: (error: unknown, message: string) => void;
  /** Hears that the agent core is lost and what becomes of its calls, and that it is there again. */
  readonly onLost: LossOptions['onLost'];
  readonly onBack: LossOptions['onBack'];
}

/** A list is asked for again after so long. */
const listMs = 1_000;
const knownWaitMs = 500;
const unaryMs = 10_000;
/** How long whoever could not connect waits to learn why. */
const reasonMs = 500;
/** The agent core ends a call by its own clock: only one that does not, by then, is given up here. */
const overtimeMs = 30_000;
const maxTenants = 1_000;

interface KnownTools {
  readonly tools: readonly ToolDescriptor[];
  readonly json: string;
  readonly atMs: number;
}

/** The tools of an agent core in another process. Connects when it is first asked for something, and again after each loss. */
export function createRemoteTools(options: RemoteToolsOptions): ToolService {
  const { clock, timers, address, connectTimeoutMs, maxMessageBytes, onTrouble } = options;
  const { service } = loadDefinition();
  const client = new Client(address, credentialsOf(options), channelOptions(options));
  const known = createCountedCache<string, KnownTools>(maxTenants);
  const asking = new Map<string, Promise<readonly ToolDescriptor[]>>();
  const running = new Set<RemoteCall>();
  const losses = createCoreLosses({ ...options, client });
  let isRefused = false;
  let closed: Promise<void> | undefined;

  function metadataOf(traceparent?: string): Metadata {
    const metadata = new Metadata();
    if (options.token !== undefined) metadata.set('authorization', `Bearer ${options.token}`);
    if (traceparent !== undefined && /^[\x20-\x7e]{1,1000}$/.test(traceparent)) metadata.set('traceparent', traceparent);
    return metadata;
  }

  function unary(method: MethodDefinition<object, object>, request: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const deadline = Date.now() + unaryMs;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadataOf(), { deadline }, (error, response) => {
        if (error === null) resolve(response);
        else reject(errorOfUnary(address, error));
      });
    });
  }

  const connection: CallConnection = {
    ...{ clock, timers, address, running, lost: losses.lost },
    ready: (signal, maxMs = connectTimeoutMs) =>
      ready(client, maxMs, address, signal).catch((error: unknown) => {
        const isAway = error instanceof NexusError && error.code === 'unavailable' && !signal.aborted;
        if (isAway && losses.isNews())
          onTrouble(
            error,
            'the agent core cannot be reached: until it is there its tools are those that it listed last, and calls of them fail without having begun',
          );
        throw error;
      }),
    open(call) {
      const { path, requestSerialize, responseDeserialize } = service.Execute;
      const request = serialized(call, requestSerialize, maxMessageBytes);
      const deadline = Date.now() + Math.min(call.timeoutMs + overtimeMs, 2 ** 31 - 1);
      return client.makeServerStreamRequest(path, (bytes: Buffer) => bytes, responseDeserialize, request, metadataOf(call.traceparent), {
        deadline,
      });
    },
    async cancel({ tenantId, callId, attempt }) {
      return CancelResponse.parse(await unary(service.Cancel, { tenantId, callId, attempt })).found;
    },
    effectsOf: ({ tenantId, toolName }) => effectsOf(known.peek(tenantId), toolName),
  };

  async function ask(tenantId: string): Promise<readonly ToolDescriptor[]> {
    const last = known.get(tenantId);
    try {
      // Where something is known already nobody waits long for news.
      const waitMs = last === undefined ? connectTimeoutMs : Math.min(connectTimeoutMs, knownWaitMs);
      await connection.ready(new AbortController().signal, waitMs);
      const { tools } = ListToolsResponse.parse(await unary(service.ListTools, { tenantId }));
      const json = JSON.stringify(tools);
      // The same list until something changes.
      const entry = { tools: last?.json === json ? last.tools : tools, json, atMs: clock.monotonic() };
      known.set(tenantId, entry);
      isRefused = false;
      return entry.tools;
    } catch (error) {
      const listed =
        error instanceof NexusError
          ? error
          : new NexusError('unavailable', `the list of tools of ${address} cannot be read`, { cause: error });
      // Nothing else would say so before a run fails.
      if (!listed.retryable && !isRefused)
        onTrouble(listed, 'the agent core takes nothing from here: runs fail until tools.remote is mended');
      isRefused ||= !listed.retryable;
      if (!passes(listed) || last === undefined) throw listed;
      // An agent core that is away has not lost its tools.
      if (!losses.isAway() && !isRefused)
        onTrouble(listed, 'the agent core could not be asked for its tools, and what it said last is taken');
      known.set(tenantId, { ...last, atMs: clock.monotonic() });
      return last.tools;
    }
  }

  return {
    async list(tenantId) {
      if (closed !== undefined) throw new NexusError('unavailable', 'the tools are shutting down');
      const last = known.get(tenantId);
      if (last !== undefined && clock.monotonic() - last.atMs < listMs) return last.tools;
      let asked = asking.get(tenantId);
      if (asked === undefined) {
        asked = ask(tenantId).finally(() => asking.delete(tenantId));
        asking.set(tenantId, asked);
      }
      if (last === undefined) return asked;
      // One that stands still is not waited for either: what it says later is there for the next who asks.
      return (await settlesWithin(timers, asked, knownWaitMs)) ? asked : last.tools;
    },
    execute(call, { signal }) {
      if (closed === undefined) return new RemoteCall(connection, call, signal);
      const ready = () => Promise.reject(new NexusError('unavailable', 'the tools are shutting down'));
      return new RemoteCall({ ...connection, ready }, call, signal);
    },
    async authorize(answer) {
      // Its call is lost as well where the connection is: only what passes is tried again.
      const send = () => unary(service.Authorize, answerToWire(answer));
      await send().catch((error: unknown) => {
        if (!(error instanceof NexusError) || !passes(error)) throw error;
        return send();
      });
    },
    close() {
      closed ??= (async () => {
        for (const call of running) call.cancel();
        await Promise.all([...running].map((call) => call.ended()));
        losses.close();
        client.close();
      })();
      return closed;
    },
  };
}

function effectsOf(list: KnownTools | undefined, toolName: string): EffectsClass {
  return list?.tools.find(({ name }) => name === toolName)?.effects ?? 'once';
}

function passes({ code }: NexusError): boolean {
  return code === 'unavailable' || code === 'rate_limited' || code === 'storage_unavailable';
}

/** The bytes of a call. Throws for what no JSON can hold, and what is larger than a message may be. */
function serialized(call: ToolCall, serialize: (value: object) => Buffer, maxBytes: number): Buffer {
  let wire: object;
  try {
    wire = callToWire(call);
  } catch (cause) {
    throw new NexusError('tool_input_invalid', `the arguments of ${call.toolName} cannot be sent as JSON`, { cause });
  }
  const bytes = serialize(wire);
  if (bytes.length <= maxBytes) return bytes;
  const message = `the arguments of ${call.toolName} have ${bytes.length} bytes, and may have ${maxBytes} (tools.remote.maxMessageBytes)`;
  throw new NexusError('payload_too_large', message, { details: { what: 'arguments', limit: maxBytes, used: bytes.length } });
}

/** At once when there is a connection. A wait that is not heard any more goes on by itself to its end. */
async function ready(client: Client, maxMs: number, address: string, signal: AbortSignal): Promise<void> {
  if (client.getChannel().getConnectivityState(true) === connectivityState.READY) return;
  await new Promise<void>((resolve, reject) => {
    const leave = () => reject(abortError(signal));
    signal.addEventListener('abort', leave, { once: true });
    client.waitForReady(Date.now() + maxMs, (error) => {
      signal.removeEventListener('abort', leave);
      if (error === undefined) return resolve();
      void reasonOfSilence(client).then((reason) =>
        reject(
          new NexusError('unavailable', `the agent core at ${address} cannot be reached`, { cause: new Error(reason, { cause: error }) }),
        ),
      );
    });
  });
}

/** Who refuses a certificate, or is spoken to in the wrong way, says no word of it that people would understand. */
const closings = /^Failed to connect\b|SSL routines|ECONNRESET|EPIPE|before secure TLS/;
const closedAtOnce =
  'it closes each connection at once: one of the two has TLS and the other has none (tools.remote.tls, grpc.tls), or it does not take the certificate of this process (tools.remote.tls.cert, grpc.tls.clientCa)';

/** Why there is no connection, for people: a port that nobody listens on, a name that nobody knows, a certificate. Only a request is told. */
function reasonOfSilence(client: Client): Promise<string> {
  const nothing = () => Buffer.alloc(0);
  return new Promise((resolve) => {
    try {
      const path = '/grpc.health.v1.Health/Check';
      client.makeUnaryRequest(path, nothing, nothing, null, { deadline: Date.now() + reasonMs }, (error) => {
        const said = error?.details.replace(/^No connection established\. Last error: (.*?)\s*(\. Resolution note: .*)?$/s, '$1');
        resolve(said === undefined ? 'it answers now' : closings.test(said) ? closedAtOnce : said);
      });
    } catch (error) {
      resolve(String(error));
    }
  });
}

function errorOfUnary(address: string, error: ServiceError): NexusError {
  const stated = errorOf(error);
  if (stated !== undefined) {
    const { code, message, details, retryable } = stated;
    // It is this process that has the wrong token, not whoever asked it for something.
    if (code === 'unauthenticated') return refusalByPeer(address, error);
    return new NexusError(code, message, {
      ...(details === undefined ? {} : { details }),
      ...(retryable === undefined ? {} : { retryable }),
    });
  }
  const refusals: readonly status[] = [status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.UNIMPLEMENTED];
  if (refusals.includes(error.code)) return refusalByPeer(address, error);
  return new NexusError('unavailable', `the agent core at ${address} did not answer`, { cause: error });
}

function credentialsOf({ tls }: RemoteToolsOptions): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure();
  return ChannelCredentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null);
}

function channelOptions({ tls, maxMessageBytes, keepaliveMs }: RemoteToolsOptions) {
  return {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': Math.min(20_000, keepaliveMs),
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2_000,
    // Proxies of the environment are for what is outside; and a connection is not shared with another client of this process.
    'grpc.enable_http_proxy': 0,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_channelz': 0,
    ...(tls?.serverName === undefined ? {} : { 'grpc.ssl_target_name_override': tls.serverName, 'grpc.default_authority': tls.serverName }),
  };
}
