import {
  DecisionRecord,
  page,
  ReplayResult,
  Run,
  RunCancelRequest,
  RunCreateRequest,
  RunForkRequest,
  RunStatus,
  WireEvent,
} from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Answer, type Call, pageQuery, pageRequest, type Route, route } from '#api/contract';
import { parseCursor } from '#api/streams';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';
import { streamHeaders } from './stream.ts';

const tag = 'runs';
const params = { run: 'run' } as const;
const accepted = { 202: { description: 'The run', schema: Run } };

const RunsQuery = pageQuery.extend({ sessionId: z.string().optional(), status: RunStatus.optional() });
const EventsQuery = z.strictObject({
  /** The event after which to begin: `<seq>`, or `<seq>.<offset>` for a stream. `cursor` means the same. */
  after: z.string().optional(),
  cursor: z.string().optional(),
  limit: z.coerce.number({ error: 'expected a whole number from 1 to 1000' }).int().min(1).max(1000).default(200),
});

export function runRoutes(context: RouteContext): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/runs',
      operationId: 'createRun',
      summary: 'Start a run in the background',
      tag,
      scope: 'runs',
      body: RunCreateRequest,
      idempotent: true,
      responses: accepted,
      async handle({ services, principal, body, idempotencyKey, traceparent }) {
        const { run, created } = await services.runs.start(principal, body, {
          ...(idempotencyKey === null ? {} : { idempotencyKey }),
          ...(traceparent === null ? {} : { traceparent }),
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
    route({
      method: 'GET',
      path: '/v1/runs/{run}/events',
      operationId: 'runEvents',
      summary: 'The journal of a run: a JSON page, or with Accept: text/event-stream its live stream, resumable by Last-Event-ID',
      tag,
      scope: 'runs',
      params,
      query: EventsQuery,
      stream: true,
      responses: { 200: { description: 'A page of events, or their stream', schema: page(WireEvent), events: WireEvent } },
      handle: (call) => (/\btext\/event-stream\b/i.test(call.headers.accept ?? '') ? streamEvents(call) : pageEvents(call)),
    }),
    route({
      method: 'GET',
      path: '/v1/runs/{run}/decisions',
      operationId: 'listRunDecisions',
      summary: 'What policy decided during a run, and why',
      tag,
      scope: 'runs',
      params,
      query: pageQuery,
      responses: { 200: { description: 'A page of decisions', schema: page(DecisionRecord) } },
      handle: async ({ services, principal, params, query }) => ({
        status: 200,
        body: await services.runs.decisions(principal, params.run ?? '', pageRequest(query)),
      }),
    }),
  ];

  async function streamEvents(call: Call<unknown, z.infer<typeof EventsQuery>>): Promise<Answer> {
    const { services, principal, params, headers, query } = call;
    const header = headers['last-event-id'];
    const cursor =
      typeof header === 'string' && header !== ''
        ? parseCursor(header, 'Last-Event-ID')
        : parseCursor(query.after ?? query.cursor ?? '0', 'after');
    const run = await services.runs.get(principal, params.run ?? '');
    return {
      stream: (response) =>
        context.openStream(
          {
            runId: run.id,
            requestId: call.requestId,
            cursor,
            headers: streamHeaders(run),
            follow: (signal) => services.runs.follow(principal, run.id, cursor, { signal }),
          },
          response,
        ),
    };
  }
}

/** The events stay the texts that they are stored as. */
async function pageEvents({ services, principal, params, query }: Call<unknown, z.infer<typeof EventsQuery>>): Promise<Answer> {
  const text = query.after ?? query.cursor ?? '0';
  if (!/^\d{1,15}$/.test(text))
    throw new NexusError('invalid_request', `query: after: expected the number of an event, got ${JSON.stringify(text.slice(0, 40))}`);
  const { events, nextAfter } = await services.runs.events(principal, params.run ?? '', { after: Number(text), limit: query.limit });
  return {
    status: 200,
    text: `{"data":[${events.join(',')}],"nextCursor":${nextAfter === null ? 'null' : `"${nextAfter}"`}}`,
    contentType: 'application/json; charset=utf-8',
  };
}
