import { page, UsageBy, UsageRow } from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';
import { toTimestamp } from '#core';
import type { RouteContext } from './context.ts';

const tag = 'budgets';
const dayMs = 86_400_000;

const day = z.iso.date({ error: 'expected a day (UTC) such as 2026-11-22' });
const UsageQuery = pageQuery
  .extend({
    by: UsageBy.default('day'),
    from: day.optional(),
    to: day.optional(),
    days: z.coerce.number({ error: 'expected a whole number from 1 to 366' }).int().min(1).max(366).optional(),
  })
  .refine(({ days, from }) => days === undefined || from === undefined, { path: ['days'], error: 'cannot be given beside `from`' })
  .refine(({ from, to }) => from === undefined || to === undefined || from <= to, { path: ['to'], error: 'lies before `from`' });

export function usageRoutes({ clock }: Pick<RouteContext, 'clock'>): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/usage',
      operationId: 'usage',
      summary: 'What was spent, by day (UTC, newest first), user, agent, model or project (by what cost most)',
      tag,
      scope: 'runs',
      query: UsageQuery,
      responses: { 200: { description: 'A page of sums', schema: page(UsageRow) } },
      async handle({ services, principal, query, signal }) {
        const to = query.to ?? dayOf(clock.now());
        const from = query.from ?? dayOf(Date.parse(to) - ((query.days ?? 30) - 1) * dayMs);
        return { status: 200, body: await services.budgets.usage(principal, { by: query.by, from, to }, pageRequest(query), signal()) };
      },
    }),
  ];
}

function dayOf(ms: number): string {
  return toTimestamp(ms).slice(0, 10);
}
