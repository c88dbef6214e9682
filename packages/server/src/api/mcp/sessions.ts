import type { Server, WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/server';
import { type Clock, NexusError, type Timers } from '#core';
import type { Principal } from '#identity';
import { principalKey } from './calls.ts';
import type { Exchange } from './exchange.ts';
import type { Sdk } from './sdk.ts';
import type { McpCaller } from './surface.ts';

/** Sessions of clients of before 2026-07-28, which begin with `initialize`. They live in this process only. */
export interface McpSessions {
  /** Answers one request of a session, or the one that begins it. Throws `rate_limited` when the tenant has too many that are in use. */
  handle(exchange: Exchange, who: Omit<McpCaller, 'seat'>, body: unknown): Promise<Response>;
  close(): Promise<void>;
}

export interface McpSessionsParts {
  readonly sdk: Sdk;
  /** One of the surface, for the session with this id. What the address of its first request says holds for all of it. */
  readonly createServer: (who: Omit<McpCaller, 'seat'>, id: string) => Server;
  readonly newId: () => string;
  /** Most that one tenant has. */
  readonly perTenant: number;
  /** One that nothing is heard of for so long ends, and what still goes on in it is cancelled. */
  readonly idleMs: number;
  readonly pingMs: number;
  /** Whether the key that began a session still stands. */
  readonly stillStands: (principal: Principal) => Promise<boolean>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'every'>;
  readonly onError: (error: unknown) => void;
}

interface Session {
  readonly owner: string;
  readonly principal: Principal;
  readonly transport: WebStandardStreamableHTTPServerTransport;
  readonly server: Server;
  /** Requests that are not answered, streams included. */
  open: number;
  heardAt: number;
}

const longestLookMs = 10_000;

export function createMcpSessions(parts: McpSessionsParts): McpSessions {
  const { sdk, perTenant, idleMs, clock, onError } = parts;
  const sessions = new Map<string, Session>();

  async function end(id: string): Promise<void> {
    const session = sessions.get(id);
    sessions.delete(id);
    await session?.server.close().catch(onError);
  }

  /** Of the tenant's, the one that was heard of longest ago, of those that nobody waits in. */
  function idlest(of: readonly [string, Session][]): string | null {
    const idle = of.filter(([, { open }]) => open === 0).sort(([, a], [, b]) => a.heardAt - b.heardAt);
    return idle[0]?.[0] ?? null;
  }

  /** Takes the room at once; resolves when who had it is gone. */
  function makeRoom(principal: Principal): Promise<void> {
    const own = [...sessions].filter(([, session]) => session.principal.tenantId === principal.tenantId);
    if (own.length < perTenant) return Promise.resolve();
    const id = idlest(own);
    if (id === null) {
      throw new NexusError(
        'rate_limited',
        `${own.length} MCP sessions of this tenant are in use here, and no more may be (mcp.server.tenantSessions); end some of them`,
        { details: { what: 'mcpSessions', limit: perTenant, used: own.length }, retryAfterMs: 1_000 },
      );
    }
    return end(id);
  }

  async function begin(who: Omit<McpCaller, 'seat'>): Promise<Session> {
    const { principal } = who;
    const hasRoom = makeRoom(principal);
    const id = parts.newId();
    const transport = new sdk.WebStandardStreamableHTTPServerTransport({ sessionIdGenerator: () => id, keepAliveMs: parts.pingMs });
    const server = parts.createServer(who, id);
    const session = { owner: principalKey(principal), principal, transport, server, open: 0, heardAt: clock.monotonic() };
    sessions.set(id, session);
    server.onclose = () => sessions.delete(id);
    await Promise.all([hasRoom, server.connect(transport)]);
    return session;
  }

  function refuse(status: number, message: string): Response {
    return Response.json({ jsonrpc: '2.0', error: { code: status === 404 ? -32_001 : -32_000, message }, id: null }, { status });
  }

  async function look(): Promise<void> {
    const now = clock.monotonic();
    for (const [id, { open, heardAt, principal }] of [...sessions]) {
      const isIdle = open === 0 && now - heardAt >= idleMs;
      // A database that does not answer is no reason to end what goes on.
      if (isIdle || !(await parts.stillStands(principal).catch(() => true))) await end(id);
    }
  }

  let looking = Promise.resolve();
  const stop = parts.timers.every(Math.min(longestLookMs, idleMs), () => {
    looking = looking.then(look).catch(onError);
  });

  return {
    async handle(exchange, who, body) {
      const id = exchange.request.headers.get('mcp-session-id');
      const known = id === null ? undefined : sessions.get(id);
      // Of somebody else's it is not even told that it is there.
      if (id !== null && known?.owner !== principalKey(who.principal)) return refuse(404, 'Session not found');
      if (known === undefined && !sdk.isInitializeRequest(body))
        return refuse(400, 'Bad Request: begin with initialize, and send the Mcp-Session-Id that it answers with every later request');
      const session = known ?? (await begin(who));
      session.heardAt = clock.monotonic();
      session.open += 1;
      exchange.whenOver(() => {
        session.open -= 1;
        session.heardAt = clock.monotonic();
      });
      const answer = await session.transport.handleRequest(exchange.request, { parsedBody: body });
      // One that could not begin is kept by nobody.
      if (known === undefined && session.transport.sessionId === undefined) await session.server.close().catch(onError);
      return answer;
    },
    async close() {
      stop();
      await looking;
      await Promise.all([...sessions.keys()].map(end));
    },
  };
}
