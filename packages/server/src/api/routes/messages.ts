import { page, SessionMessage } from '@nexus-agent/protocol';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'sessions';

export function messageRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/sessions/{session}/messages',
      operationId: 'listMessages',
      summary: 'The conversation of a session: newest run first, within a run oldest message first',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      query: pageQuery,
      responses: { 200: { description: 'A page of messages', schema: page(SessionMessage) } },
      handle: async ({ services, principal, params, query }) => ({
        status: 200,
        body: await services.sessions.messages(principal, params.session ?? '', pageRequest(query)),
      }),
    }),
  ];
}
