import type { ServerResponse } from 'node:http';
import type { McpHttpHandler, Server } from '@modelcontextprotocol/server';
import type { Problem } from '@nexus-agent/protocol';
import { type Clock, type IdSource, NexusError, type SecretValues, type Timers } from '#core';
import type { Principal } from '#identity';
import { createCallCount, principalKey } from './calls.ts';
import { createExchange, type Exchange } from './exchange.ts';
import { loadSdk, type Sdk } from './sdk.ts';
import { createMcpServer } from './server.ts';
import { createMcpSessions, type McpSessions } from './sessions.ts';
import type { McpCaller, McpSurface } from './surface.ts';

/** One request, let in and parsed. */
export interface McpRequest {
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly who: Omit<McpCaller, 'seat'>;
  /** The JSON that was posted. */
  readonly body?: unknown;
  readonly requestId: string;
}

export interface McpLimits {
  /** Most MCP sessions of one tenant. */
  readonly tenantSessions: number;
  /** One that nothing is heard of for so long ends. */
  readonly idleMs: number;
  /** Most calls of one principal under way. */
  readonly calls: number;
  readonly lagMs: number;
  readonly pingMs: number;
}

export interface McpEndpointParts {
  readonly surface: (sdk: Sdk) => McpSurface;
  readonly limits: McpLimits;
  readonly stillStands: (principal: Principal) => Promise<boolean>;
  readonly secrets: SecretValues;
  readonly problemOf: (error: unknown, requestId: string) => { readonly problem: Problem };
  readonly logger: { warn(fields: object, message: string): void };
  readonly ids: Pick<IdSource, 'next'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after' | 'every'>;
}

export interface McpEndpoint {
  /** Answers one request, by the revision of the protocol that it is of; resolves when the answer has ended. */
  serve(request: McpRequest, response: ServerResponse): Promise<void>;
  /** Ends all sessions and streams. What clients wanted done goes on. */
  close(): Promise<void>;
}

/** More in one body would be begun before anybody else is heard. */
const maxBatch = 32;
/** No setting: streams that wait for changes, of which this server tells none yet. */
const maxSubscriptions = 256;

/** The streamable HTTP transport: revision 2026-07-28, where each request stands by itself, and those before it, with sessions. */
export function createMcpEndpoint(parts: McpEndpointParts): McpEndpoint {
  let opened: Promise<Opened> | null = null;
  let closing = false;
  return {
    async serve({ method, headers, body, requestId, who }, response) {
      opened ??= loadSdk().then((sdk) => open(parts, sdk, () => closing));
      const { answer } = await opened;
      const { lagMs } = parts.limits;
      const exchange = createExchange({ method, headers, response, lagMs, timers: parts.timers });
      await exchange.answer(await answer(exchange, who, body).catch((error: unknown) => refusal(parts.problemOf(error, requestId))));
    },
    async close() {
      closing = true;
      await (await opened)?.close();
    },
  };
}

function refusal({ problem }: { readonly problem: Problem }): Response {
  const message = `${problem.code}: ${problem.detail}`;
  return Response.json({ jsonrpc: '2.0', error: { code: -32_000, message, data: problem }, id: null }, { status: problem.status });
}

type Who = Omit<McpCaller, 'seat'>;

interface Opened {
  answer(exchange: Exchange, who: Who, body: unknown): Promise<Response>;
  close(): Promise<void>;
}

function open({ surface, limits, ...parts }: McpEndpointParts, sdk: Sdk, isClosing: () => boolean): Opened {
  /** Who sent what the library asks about again. */
  const exchanges = new WeakMap<Request, { readonly exchange: Exchange; readonly who: Who }>();
  const enter = createCallCount(limits.calls);
  const onError = (error: unknown) => parts.logger.warn({ err: error }, 'an MCP session could not be ended in good order');
  const of = {
    sdk,
    surface: surface(sdk),
    secrets: parts.secrets,
    isClosing,
    problemOf: (error: unknown) => parts.problemOf(error, parts.ids.next<string>('request')).problem,
    enter: ({ principal }: McpCaller) => enter(principal),
    reads: (request: Request | undefined) => (request === undefined ? true : (exchanges.get(request)?.exchange.reads() ?? true)),
  };
  const sessions: McpSessions = createMcpSessions({
    sdk,
    createServer: (who, id) => createMcpServer(of, { ...who, seat: `session/${id}` }),
    newId: () => crypto.randomUUID(),
    ...{ perTenant: limits.tenantSessions, idleMs: limits.idleMs, pingMs: limits.pingMs },
    ...{ stillStands: parts.stillStands, clock: parts.clock, timers: parts.timers, onError },
  });
  const stateless: McpHttpHandler = sdk.createMcpHandler(
    ({ requestInfo }): Server => {
      const known = requestInfo === undefined ? undefined : exchanges.get(requestInfo);
      if (known === undefined) throw new NexusError('internal', 'a request that nobody sent');
      const { principal, agent = '', session = '' } = known.who;
      return createMcpServer(of, { ...known.who, seat: `principal/${principalKey(principal)}/${agent}/${session}` });
    },
    { legacy: 'reject', keepAliveMs: limits.pingMs, maxSubscriptions },
  );

  return {
    async answer(exchange, who, body) {
      exchanges.set(exchange.request, { exchange, who });
      if (Array.isArray(body) && body.length > maxBatch)
        throw new NexusError('payload_too_large', `a body has at most ${maxBatch} messages; this one has ${body.length}`);
      if (!(await sdk.isLegacyRequest(exchange.request, body))) return stateless.fetch(exchange.request, { parsedBody: body });
      return sessions.handle(exchange, who, body);
    },
    async close() {
      await Promise.all([sessions.close(), stateless.close()]);
    },
  };
}
