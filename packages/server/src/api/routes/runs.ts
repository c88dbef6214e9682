import {
  ClientCall,
  ClientToolResult,
  page,
  ReplayResult,
  Run,
  RunCancelRequest,
  RunCreateRequest,
  RunForkRequest,
  RunStatus,
} from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'runs';
const params = { run: 'run' } as const;
const accepted = { 202: { description: 'The run', schema: Run } };

const RunsQuery = pageQuery.extend({ sessionId: z.string().optional(), status: RunStatus.optional() });

export function runRoutes(): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/runs',
      operationId: 'createRun',
      summary: 'Start a run in the background, in whichever process has time for it',
      tag,
      scope: 'runs',
      body: RunCreateRequest,
      bodySize: 'input',
      idempotent: true,
      responses: accepted,
      async handle({ services, principal, body, idempotencyKey, traceparent, signal }) {
        const { run, created } = await services.runs.start(principal, body, {
          background: true,
          ...(idempotencyKey === null ? {} : { idempotencyKey }),
          ...(traceparent === null ? {} : { traceparent }),
          signal: signal(),
        });
        return { status: 202, body: run, replayed: !created };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs',
      operationId: 'listRuns',
      summary: 'List runs, newest first',
      tag,
      scope: 'runs',
      query: RunsQuery,
      responses: { 200: { description: 'A page of runs', schema: page(Run) } },
      async handle({ services, principal, query }) {
        const { sessionId, status } = query;
        const filter = { ...(sessionId === undefined ? {} : { sessionId }), ...(status === undefined ? {} : { status }) };
        return { status: 200, body: await services.runs.list(principal, filter, pageRequest(query)) };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/{run}',
      operationId: 'getRun',
      summary: 'Show a run',
      tag,
      scope: 'runs',
      params,
      responses: { 200: { description: 'The run', schema: Run } },
      handle: async ({ services, principal, params }) => ({ status: 200, body: await services.runs.get(principal, params.run ?? '') }),
    }),
    route({
      method: 'POST',
      path: '/v1/runs/{run}/cancel',
      operationId: 'cancelRun',
      summary: 'Stop a run, its upstream requests and its tools',
      tag,
      scope: 'runs',
      params,
      body: RunCancelRequest,
      bodyOptional: true,
      responses: { 200: { description: 'The run', schema: Run } },
      handle: async ({ services, principal, params, body }) => ({
        status: 200,
        body: await services.runs.cancel(principal, params.run ?? '', ...(body.reason === undefined ? [] : [body.reason])),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/runs/{run}/tool-results',
      operationId: 'listClientCalls',
      summary: 'List the calls of client tools whose results the run waits for',
      tag,
      scope: 'runs',
      params,
      responses: { 200: { description: 'The calls, in the order in which the model made them', schema: page(ClientCall) } },
      handle: async ({ services, principal, params }) => ({
        status: 200,
        body: { data: [...(await services.runs.clientCalls(principal, params.run ?? ''))], nextCursor: null },
      }),
    }),
    route({
      method: 'PUT',
      path: '/v1/runs/{run}/tool-results/{call}',
      operationId: 'giveToolResult',
      summary: 'Give the result of a call of a client tool; the run goes on. The same result may be given again',
      tag,
      scope: 'runs',
      params: { run: 'run', call: 'call' },
      body: ClientToolResult,
      bodySize: 'arguments',
      responses: { 200: { description: 'The run', schema: Run } },
      handle: async ({ services, principal, params, body }) => ({
        status: 200,
        body: await services.runs.giveResult(principal, { runId: params.run ?? '', callId: params.call ?? '' }, body),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/runs/{run}/resume',
      operationId: 'resumeRun',
      summary: 'Continue a failed run that is resumable, for instance after a budget was raised',
      tag,
      scope: 'runs',
      params,
      body: z.strictObject({}),
      bodyOptional: true,
      responses: accepted,
      handle: async ({ services, principal, params }) => ({ status: 202, body: await services.runs.resume(principal, params.run ?? '') }),
    }),
    route({
      method: 'POST',
      path: '/v1/runs/{run}/fork',
      operationId: 'forkRun',
      summary: 'Start a new run from an event of this one, with edits; the original stays as it is',
      tag,
      scope: 'runs',
      params,
      body: RunForkRequest,
      bodySize: 'input',
      bodyOptional: true,
      idempotent: true,
      responses: accepted,
      async handle({ services, principal, params, body, idempotencyKey }) {
        const options = idempotencyKey === null ? {} : { idempotencyKey };
        const { run, created } = await services.runs.fork(principal, params.run ?? '', body, options);
        return { status: 202, body: run, replayed: !created };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/{run}/replay',
      operationId: 'replayRun',
      summary: 'Feed the journal through the engine without effects and compare the state',
      tag,
      scope: 'runs',
      params,
      body: z.strictObject({}),
      bodyOptional: true,
      responses: { 200: { description: 'The comparison', schema: ReplayResult } },
      handle: async ({ services, principal, params }) => ({ status: 200, body: await services.runs.replay(principal, params.run ?? '') }),
    }),
  ];
}
