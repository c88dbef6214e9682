import { page, SessionFile } from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';
import { download } from './download.ts';

const tag = 'sessions';
const run = z.string().min(1).max(100).optional();

export function fileRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/sessions/{session}/files',
      operationId: 'listFiles',
      summary: 'The files of a session, or with `run` those that a run works on: a fork has its own',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      query: pageQuery.extend({ run }),
      responses: { 200: { description: 'A page of files, by path', schema: page(SessionFile) } },
      handle: async ({ services, principal, params, query }) => ({
        status: 200,
        body: await services.files.list(principal, { sessionId: params.session ?? '', run: query.run }, pageRequest(query)),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/sessions/{session}/files/content',
      operationId: 'getFileContent',
      summary: 'The content of a file, as a download; its hash is the `ETag`',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      query: z.strictObject({ path: z.string().min(1).max(4_096), run }),
      responses: { 200: { description: 'The bytes of the file', contentType: 'application/octet-stream' } },
      async handle({ services, principal, params, query, headers, signal }) {
        const of = { sessionId: params.session ?? '', run: query.run };
        const { file, read } = await services.files.get(principal, of, query.path);
        const name = file.path.slice(file.path.lastIndexOf('/') + 1);
        return download({ ...file, name, read }, headers, signal);
      },
    }),
  ];
}
