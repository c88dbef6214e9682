import { page, RetentionRow } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Route, route, wholePage } from '#api/contract';

const tag = 'retention';
const path = '/v1/retention';

export function retentionRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path,
      operationId: 'previewRetention',
      summary: 'What is older than it is kept, by kind: what `prune` would delete',
      tag,
      scope: 'admin',
      asks: { action: 'admin.read', part: 'retention' },
      responses: { 200: { description: 'A row per kind', schema: page(RetentionRow) } },
      handle: async ({ services, principal }) => ({ status: 200, body: wholePage(await services.retention.preview(principal)) }),
    }),
    route({
      method: 'POST',
      path: `${path}/prune`,
      operationId: 'prune',
      summary: 'Delete it now, instead of when its time comes; it ends when the caller leaves, and goes on later',
      tag,
      scope: 'admin',
      asks: { action: 'admin.retention', part: 'retention' },
      body: z.strictObject({}),
      bodyOptional: true,
      responses: { 200: { description: 'What was deleted, by kind', schema: page(RetentionRow) } },
      handle: async ({ services, principal, signal }) => ({
        status: 200,
        body: wholePage(await services.retention.prune(principal, signal())),
      }),
    }),
  ];
}
