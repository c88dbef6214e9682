import { Artifact, page } from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';
import { download } from './download.ts';

const tag = 'artifacts';
const id = z.string().min(1).max(100).optional();

export function artifactRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/artifacts',
      operationId: 'listArtifacts',
      summary: 'Results of tools that were too long for a prompt, the newest first; of a session or a run, where one is named',
      tag,
      scope: 'runs',
      query: pageQuery.extend({ sessionId: id, runId: id }),
      responses: { 200: { description: 'A page of artifacts', schema: page(Artifact) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.artifacts.list(principal, { sessionId: query.sessionId, runId: query.runId }, pageRequest(query)),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/artifacts/{artifact}',
      operationId: 'getArtifact',
      summary: 'What is known of an artifact',
      tag,
      scope: 'runs',
      params: { artifact: 'artifact' },
      responses: { 200: { description: 'The artifact', schema: Artifact } },
      handle: async ({ services, principal, params }) => ({
        status: 200,
        body: (await services.artifacts.get(principal, params.artifact ?? '')).artifact,
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/artifacts/{artifact}/content',
      operationId: 'getArtifactContent',
      summary: 'All that is kept of the result, as a download; its hash is the `ETag`',
      tag,
      scope: 'runs',
      params: { artifact: 'artifact' },
      responses: { 200: { description: 'The bytes of the result, in UTF-8', contentType: 'application/octet-stream' } },
      async handle({ services, principal, params, headers, signal }) {
        const { artifact, read } = await services.artifacts.get(principal, params.artifact ?? '');
        const name = `${artifact.id}.${artifact.mediaType === 'application/json' ? 'json' : 'txt'}`;
        return download({ ...artifact, name, read }, headers, signal);
      },
    }),
  ];
}
