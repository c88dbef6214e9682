import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DecisionRecord, page, WireEvent } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Call, pageQuery, pageRequest, type Route, type RouteAnswer, route } from '#api/contract';
import { parseCursor } from '#api/streams';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';
import { streamAnswer, streamResponses } from './stream.ts';

const tag = 'runs';
const params = { run: 'run' } as const;

const EventsQuery = z.strictObject({
  /** The event after which to begin: `<seq>`, or `<seq>.<offset>` for a stream. `cursor` means the same. */
  after: z.string().optional(),
  cursor: z.string().optional(),
  limit: z.coerce.number({ error: 'expected a whole number from 1 to 1000' }).int().min(1).max(1000).default(200),
});

/** What happened in a run, and what policy decided in it. */
export function journalRoutes(context: RouteContext): Route[] {
  return [
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
      responses: {
        ...streamResponses,
        200: { description: 'A page of events, or their stream', schema: page(WireEvent), events: WireEvent },
      },
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

  async function streamEvents(call: Call<unknown, z.infer<typeof EventsQuery>>): Promise<RouteAnswer> {
    const { services, principal, params, headers, query } = call;
    const header = headers['last-event-id'];
    const cursor =
      typeof header === 'string' && header !== ''
        ? parseCursor(header, 'Last-Event-ID')
        : parseCursor(query.after ?? query.cursor ?? '0', 'after');
    const run = await services.runs.get(principal, params.run ?? '');
    return streamAnswer(context, call, run, { cursor });
  }
}

/** No journal has so many events; a database may take no larger number for one. */
const maxSeq = 2_147_483_647;

/** The events stay the texts that they are stored as. */
async function pageEvents({ services, principal, params, query }: Call<unknown, z.infer<typeof EventsQuery>>): Promise<RouteAnswer> {
  const text = query.after ?? query.cursor ?? '0';
  if (!/^\d{1,15}$/.test(text))
    throw new NexusError('invalid_request', `query: after: expected the number of an event, got ${JSON.stringify(text.slice(0, 40))}`);
  const { events, long, nextAfter } = await services.runs.events(principal, params.run ?? '', {
    after: Math.min(Number(text), maxSeq),
    limit: query.limit,
  });
  const contentType = 'application/json; charset=utf-8';
  const end = `],"nextCursor":${nextAfter === null ? 'null' : `"${nextAfter}"`}}`;
  if (long === undefined) return { status: 200, text: `{"data":[${events.join(',')}${end}`, contentType };
  async function* page(pieces: AsyncIterable<string>) {
    yield '{"data":[';
    yield* pieces;
    yield end;
  }
  return {
    async stream(response) {
      response.writeHead(200, { 'content-type': contentType });
      // Whatever ends it early ends the connection: the answer is then too short. A reader that left need not be told of.
      await pipeline(Readable.from(page(long()), { objectMode: false }), response).catch((error: unknown) => {
        if (error instanceof NexusError) throw error;
      });
    },
  };
}
