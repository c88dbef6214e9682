import { page, UsageRow } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Route, route, wholePage } from '#api/contract';

const tag = 'budgets';

export function usageRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/usage',
      operationId: 'usage',
      summary: 'What was spent, by day (UTC)',
      tag,
      scope: 'runs',
      query: z.strictObject({
        days: z.coerce.number({ error: 'expected a whole number from 1 to 366' }).int().min(1).max(366).default(30),
      }),
      responses: { 200: { description: 'A row per day', schema: page(UsageRow) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: wholePage(await services.budgets.usage(principal, query.days)),
      }),
    }),
  ];
}
