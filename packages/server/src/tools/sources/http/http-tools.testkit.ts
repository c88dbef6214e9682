import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { HttpToolSource, type HttpToolSourceInput } from '@nexus-agent/protocol';
import { afterEach, beforeEach } from 'vitest';
import { createSecretValues, systemClock, systemTimers } from '#core';
import type { Tool, ToolCallEnd } from '#tools';
import { createTestToolService, makeToolCall, type Reader, readCall, said } from '#tools/testing';
import { createHttpApis } from './index.ts';

export interface Reached {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export type ToolInput = Omit<HttpToolSourceInput['tools'][number], 'name' | 'description'>;

export interface CallOptions extends Reader {
  readonly source?: Omit<HttpToolSourceInput, 'name' | 'baseUrl' | 'tools'> & { readonly baseUrl?: string };
  readonly timeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly granted?: boolean;
  readonly tenantId?: string;
}

/** The value of `secret:TOKEN`. */
export const secretValue = 'tok-5f2b8c1d9e7a4630';
const known = createSecretValues([secretValue]);

/** A server that answers as its `listener` does, anew for each test, and one tool that calls it. */
export function useServer() {
  let port = 0;
  let stop: () => Promise<unknown> = async () => undefined;
  const api = {
    get port() {
      return port;
    },
    reached: [] as Reached[],
    listener: ((_request, response) => void response.end()) as RequestListener,
    toolsOf,
    end,
    /** The end of a call in one line. */
    call: async (...args: Parameters<typeof end>) => said(await end(...args)),
  };

  beforeEach(async () => {
    api.reached = [];
    api.listener = (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}');
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const piece of request) body += piece;
      api.reached.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      api.listener(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    stop = () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    };
  });
  afterEach(() => stop());

  async function toolsOf(
    tool: ToolInput,
    { source = {}, idleTimeoutMs = 15_000, granted = true }: CallOptions = {},
  ): Promise<readonly Tool[]> {
    const http = createHttpApis({
      ...{ clock: systemClock, timers: systemTimers, known, idleTimeoutMs },
      allowPrivate: (hostname) => granted && hostname === '127.0.0.1',
      secrets: { find: (tenantId, name) => (name === 'TOKEN' && tenantId === 'ten_1' ? secretValue : null) },
    });
    const content = HttpToolSource.parse({
      name: 'api',
      baseUrl: `http://127.0.0.1:${port}/v1/`,
      ...source,
      tools: [{ name: 'probe', description: 'for tests', ...tool }],
    });
    await http.check('ten_1', content);
    const tenantId = 'ten_1' as never; // a literal
    return http.build({ tenantId, kind: 'http', name: 'api', version: '1', content, createdAt: 0 });
  }

  async function end(tool: ToolInput, input: Record<string, unknown> = {}, options: CallOptions = {}): Promise<ToolCallEnd> {
    const { timeoutMs = 5_000, tenantId = 'ten_1', signal, onPart, authorize } = options;
    const service = createTestToolService(await toolsOf(tool, options), { secrets: known });
    const reader: Reader = { ...(signal && { signal }), ...(onPart && { onPart }), ...(authorize && { authorize }) };
    return readCall(service, makeToolCall({ tenantId, input, timeoutMs }), reader);
  }

  return api;
}
