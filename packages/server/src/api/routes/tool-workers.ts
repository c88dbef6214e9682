import {
  page,
  ToolPool,
  ToolWorkerInfo,
  WorkerHello,
  type WorkerMessage,
  WorkerMessage as WorkerMessageSchema,
  WorkerReceipt,
  WorkerReports,
} from '@nexus-agent/protocol';
import { pageQuery, pageRequest, type Route, route, wholePage } from '#api/contract';
import type { RouteContext } from './context.ts';
import { whileKeyStands } from './stream.ts';

const tag = 'tools';

/** Processes of other people that serve tools: they come to the server, and nothing has to reach them. */
export function toolWorkerRoutes(context: RouteContext): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/tool-pools/{pool}/stream',
      operationId: 'serveTools',
      summary: 'Connect a worker that serves tools: what it is to do comes over the stream',
      tag,
      scope: 'tools',
      params: { pool: 'name' },
      body: WorkerHello,
      bodySize: 'definition',
      stream: true,
      responses: {
        200: {
          description: 'Server-sent events, each `data:` line one WorkerMessage; the first is `worker.ready`',
          events: WorkerMessageSchema,
        },
      },
      async handle({ services, principal, params, body, requestId }) {
        const pool = params.pool ?? '';
        const begin = new AbortController();
        // Connected before anything is answered: what is wrong with the tools is an ordinary error.
        const messages = await services.toolWorkers.connect(principal, pool, body, begin.signal);
        async function* frames(signal: AbortSignal) {
          signal.addEventListener('abort', () => begin.abort(signal.reason), { once: true });
          if (signal.aborted) begin.abort(signal.reason);
          for await (const batch of messages) yield batch.map(frameOf);
        }
        const follow = (signal: AbortSignal) => whileKeyStands(frames(signal), { principal, services, timers: context.timers });
        return {
          stream: (response) =>
            context
              .openStream({ runId: pool, requestId, cursor: { seq: 0, offset: 0 }, headers: {}, follow }, response)
              .finally(() => begin.abort()),
        };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/tool-pools/{pool}/reports',
      operationId: 'reportToolCalls',
      summary: 'Say what a worker holds, what it prints, and how its calls ended',
      tag,
      scope: 'tools',
      params: { pool: 'name' },
      body: WorkerReports,
      bodySize: 'arguments',
      responses: { 200: { description: 'What stands of each call', schema: WorkerReceipt } },
      handle: async ({ services, principal, params, body }) => ({
        status: 200,
        body: await services.toolWorkers.report(principal, params.pool ?? '', body),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/tool-workers',
      operationId: 'listToolWorkers',
      summary: 'List the workers that are connected',
      tag,
      scope: 'admin',
      asks: { action: 'admin.read', part: 'tools' },
      responses: { 200: { description: 'Workers of all nodes', schema: page(ToolWorkerInfo) } },
      handle: async ({ services, principal }) => ({ status: 200, body: wholePage(await services.toolWorkers.list(principal)) }),
    }),
    route({
      method: 'GET',
      path: '/v1/tool-pools',
      operationId: 'listToolPools',
      summary: 'List the pools of workers, with their tools',
      tag,
      scope: 'admin',
      asks: { action: 'admin.read', part: 'tools' },
      query: pageQuery,
      responses: { 200: { description: 'A page of pools', schema: page(ToolPool) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.toolWorkers.pools(principal, pageRequest(query)),
      }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/tool-pools/{pool}',
      operationId: 'deleteToolPool',
      summary: 'Take the tools of a pool away',
      tag,
      scope: 'admin',
      asks: { action: 'admin.tools', part: 'tools' },
      params: { pool: 'name' },
      responses: { 204: { description: 'Gone' } },
      async handle({ services, principal, params }) {
        await services.toolWorkers.removePool(principal, params.pool ?? '');
        return { status: 204 };
      },
    }),
  ];
}

function frameOf(message: WorkerMessage) {
  return { id: null, event: message.type, data: JSON.stringify(message) };
}
