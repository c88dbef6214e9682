import { ChatRequest, ModelRef, Name, WhileBusy } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Call, localOperator, type Route, type RouteAnswer, route } from '#api/contract';
import { parseCursor } from '#api/streams';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';
import { streamAnswer, streamResponses } from './stream.ts';

const path = '/v1/agents/chat/stream';
const tag = 'chat';

const ChatQuery = z.strictObject({
  input: z.string().min(1).max(100_000).optional(),
  sessionId: z.string().optional(),
  agent: Name.optional(),
  model: ModelRef.optional(),
  whileBusy: WhileBusy.optional(),
});

/** Start a run and stream it in one request. */
export function chatRoutes(context: RouteContext): Route[] {
  async function start(call: Call<unknown, unknown>, request: ChatRequest): Promise<RouteAnswer> {
    const { services, principal, idempotencyKey, traceparent, headers } = call;
    const lastEventId = headers['last-event-id'];
    if (lastEventId !== undefined && idempotencyKey === null) {
      throw new NexusError(
        'invalid_request',
        'a stream is resumed at GET /v1/runs/{run}/events; here a Last-Event-ID would start another run, unless an Idempotency-Key names the first one',
      );
    }
    const cursor = typeof lastEventId === 'string' ? parseCursor(lastEventId, 'Last-Event-ID') : { seq: 0, offset: 0 };
    const { run, created } = await services.runs.start(principal, request, {
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
      idempotent: true,
      stream: true,
      responses: streamResponses,
      handle: (call) => start(call, call.body),
    }),
    route({
      method: 'GET',
      path,
      operationId: 'chatStreamGet',
      summary: 'The same by query; without one, the default agent greets',
      tag,
      scope: 'runs',
      query: ChatQuery,
      idempotent: true,
      stream: true,
      responses: streamResponses,
      async handle(call) {
        const { input, sessionId, agent, model, whileBusy } = call.query;
        if (input === undefined && call.principal !== localOperator) {
          throw new NexusError('invalid_request', 'query: input: expected text, but it is missing');
        }
        return start(call, {
          input: input ?? context.greeting,
          ...(sessionId === undefined ? {} : { sessionId }),
          ...(whileBusy === undefined ? {} : { whileBusy }),
          ...(agent === undefined ? {} : { agent }),
          ...(model === undefined ? {} : { model }),
        });
      },
    }),
  ];
}
