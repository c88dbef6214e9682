import { DefinitionImportRequest, DefinitionKind, DefinitionOverview, DefinitionSet } from '@nexus-agent/protocol';
import { type Route, route } from '#api/contract';
import { NexusError } from '#core';

const tag = 'definitions';

export function definitionRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/definitions',
      operationId: 'showDefinitions',
      summary: "Show which versions of the operator's policies and agents are active, what the node's folders hold, and which nodes follow",
      tag,
      scope: 'admin',
      asks: { action: 'admin.read', part: 'definitions' },
      responses: { 200: { description: 'As the node that answers sees it', schema: DefinitionOverview } },
      handle: async ({ services, principal }) => ({ status: 200, body: await services.definitions.show(principal) }),
    }),
    route({
      method: 'POST',
      path: '/v1/definitions/{kind}/import',
      operationId: 'importDefinitions',
      summary: "Make what lies in the answering node's folder of policies or agents the active version, also if it was active before",
      tag,
      scope: 'admin',
      asks: { action: 'admin.definitions', part: 'definitions' },
      params: { kind: 'name' },
      body: DefinitionImportRequest,
      bodyOptional: true,
      responses: { 200: { description: 'The kind of definitions, as it is now', schema: DefinitionSet } },
      async handle({ services, principal, params, body }) {
        const kind = DefinitionKind.safeParse(params.kind);
        if (!kind.success)
          throw new NexusError('not_found', `there are no definitions of this kind; there are ${DefinitionKind.options.join(' and ')}`);
        return { status: 200, body: await services.definitions.import(principal, kind.data, body) };
      },
    }),
  ];
}
