import { page, Session, SessionCreateRequest } from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'sessions';

export function sessionRoutes(): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/sessions',
      operationId: 'createSession',
      summary: 'Create a session with its budget and policy',
      tag,
      scope: 'runs',
      body: SessionCreateRequest,
      visitors: SessionCreateRequest.pick({ budget: true, metadata: true, policy: true }),
      bodyOptional: true,
      idempotent: true,
      responses: { 201: { description: 'The session', schema: Session } },
      async handle({ services, principal, body, idempotencyKey }) {
        const { session, created } = await services.sessions.create(principal, body, idempotencyKey === null ? {} : { idempotencyKey });
        return { status: 201, body: session, replayed: !created };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/sessions',
      operationId: 'listSessions',
      summary: 'List sessions, newest first',
      tag,
      scope: 'runs',
      query: pageQuery,
      responses: { 200: { description: 'A page of sessions', schema: page(Session) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.sessions.list(principal, pageRequest(query)),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/sessions/{session}',
      operationId: 'getSession',
      summary: 'Show a session with what is left of its budget',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      responses: { 200: { description: 'The session', schema: Session } },
      handle: async ({ services, principal, params }) => ({
        status: 200,
        body: await services.sessions.get(principal, params.session ?? ''),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/sessions/{session}/close',
      operationId: 'closeSession',
      summary: 'Close a session: its live runs are cancelled and no new one may start',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      body: z.strictObject({}),
      bodyOptional: true,
      responses: { 204: { description: 'Closed' } },
      async handle({ services, principal, params }) {
        await services.sessions.close(principal, params.session ?? '');
        return { status: 204 };
      },
    }),
    route({
      method: 'DELETE',
      path: '/v1/sessions/{session}',
      operationId: 'deleteSession',
      summary: 'Close a session and delete it with everything of it: runs, journals, approvals, balances and files',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      responses: {
        204: { description: 'It is gone' },
        202: { description: 'It is closed, its live runs are cancelled, and it goes when they have ended', schema: Session },
      },
      async handle({ services, principal, params }) {
        const id = params.session ?? '';
        if (await services.sessions.remove(principal, id)) return { status: 204 };
        return { status: 202, body: await services.sessions.get(principal, id) };
      },
    }),
  ];
}
