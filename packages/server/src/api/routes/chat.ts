import { ChatRequest } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Call, localOperator, type Route, type RouteAnswer, route, visitor } from '#api/contract';
import { parseCursor } from '#api/streams';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';
import { streamAnswer, streamResponses } from './stream.ts';
import { createVisits } from './visits.ts';

const path = '/v1/agents/chat/stream';
const tag = 'chat';

/** The default agent, by text alone, in a session of its own. */
const VisitorChat = ChatRequest.pick({ budget: true }).extend({ input: z.string().min(1).max(20_000) });

/**
 * Start a run and stream it in one request. A GET carries nothing of the caller's into a run: a link, an image or a redirect of any page
 * can send one.
 */
export function chatRoutes(context: RouteContext): Route[] {
  const visits = createVisits(context.clock);

  async function start(call: Call<unknown, unknown>, request: ChatRequest): Promise<RouteAnswer> {
    const { services, principal, idempotencyKey, traceparent, headers } = call;
    const lastEventId = headers['last-event-id'];
    if (lastEventId !== undefined && idempotencyKey === null) {
      throw new NexusError(
        'invalid_request',
        'a stream is resumed at GET /v1/runs/{run}/events; here a Last-Event-ID would start another run, unless an Idempotency-Key names the first one',
      );
    }
    const asked = principal === visitor ? visits.admit(request, context.greeting) : request;
    const cursor = typeof lastEventId === 'string' ? parseCursor(lastEventId, 'Last-Event-ID') : { seq: 0, offset: 0 };
    const { run, created } = await services.runs.start(principal, asked, {
      ...(idempotencyKey === null ? {} : { idempotencyKey }),
      ...(traceparent === null ? {} : { traceparent }),
      signal: call.signal(),
    });
    return streamAnswer(context, call, run, { cursor, replayed: !created });
  }

  return [
    route({
      method: 'POST',
      path,
      operationId: 'chatStream',
      summary: 'Run an agent and stream what happens; leaving does not cancel the run',
      tag,
      scope: 'runs',
      body: ChatRequest,
      visitors: VisitorChat,
      bodySize: 'input',
      idempotent: true,
      stream: true,
      responses: streamResponses,
      handle: (call) => start(call, call.body),
    }),
    route({
      method: 'GET',
      path,
      operationId: 'chatStreamGet',
      summary: 'The default agent greets: for a program on this machine. What else a run needs is sent by POST',
      tag,
      scope: 'runs',
      visitors: z.undefined(),
      startsByGet: true,
      idempotent: true,
      stream: true,
      responses: streamResponses,
      async handle(call) {
        if (call.hasQuery) {
          throw new NexusError(
            'invalid_request',
            `a GET starts no run of one's own, since any link or image could send it; send POST ${path} with a JSON body such as {"input":"…"}`,
          );
        }
        if (call.principal !== localOperator && call.principal !== visitor) {
          throw new NexusError('invalid_request', `with a key, send POST ${path} with a JSON body such as {"input":"…"}`);
        }
        return start(call, { input: context.greeting });
      },
    }),
  ];
}
