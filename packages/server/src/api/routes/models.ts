import { ModelInfo, page } from '@nexus-agent/protocol';
import { type Route, route, wholePage } from '#api/contract';

const tag = 'agents';

export function modelRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/models',
      operationId: 'listModels',
      summary: 'List the models that configured providers serve, with prices',
      tag,
      scope: 'runs',
      responses: { 200: { description: 'All models', schema: page(ModelInfo) } },
      handle: async ({ services, principal }) => ({ status: 200, body: wholePage(await services.models.list(principal)) }),
    }),
  ];
}
