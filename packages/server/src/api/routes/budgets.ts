import { BudgetRow, BudgetScopeKind, page, SetBudgetRequest } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Call, pageQuery, pageRequest, type Route, type RouteAnswer, route } from '#api/contract';

const tag = 'budgets';

const BudgetsQuery = pageQuery.extend({
  scope: z
    .string()
    .regex(/^(tenant|project|agent|user|session|run):.{1,200}$/, {
      error: 'expected <kind>:<id>, such as session:ses_01h455vb4pex5vsknk084sn02q',
    })
    .optional(),
});

const set = async ({ services, principal, body }: Call<SetBudgetRequest, undefined>): Promise<RouteAnswer> => ({
  status: 200,
  body: await services.budgets.set(principal, body),
});
const setBudget = {
  path: '/v1/budgets',
  summary: 'Set the limit of a scope, unit and window',
  tag,
  scope: 'admin',
  asks: {
    action: 'admin.budgets',
    part: 'budgets',
    arguments: ({ scope, ...limit }: SetBudgetRequest) => ({ ...limit, scope: `${scope.kind}:${scope.id}` }),
  },
  body: SetBudgetRequest,
  responses: { 200: { description: 'The balance', schema: BudgetRow } },
  handle: set,
} as const;

export function budgetRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/budgets',
      operationId: 'listBudgets',
      summary: 'List balances: limit, spent and reserved',
      tag,
      scope: 'runs',
      query: BudgetsQuery,
      responses: { 200: { description: 'A page of balances', schema: page(BudgetRow) } },
      async handle({ services, principal, query }) {
        const [kind, id] = splitOnce(query.scope ?? '');
        const filter = query.scope === undefined ? {} : { scope: { kind: BudgetScopeKind.parse(kind), id } };
        return { status: 200, body: await services.budgets.list(principal, filter, pageRequest(query)) };
      },
    }),
    route({ ...setBudget, method: 'PUT', operationId: 'setBudget' }),
    route({ ...setBudget, method: 'POST', operationId: 'setBudgetByPost' }),
  ];
}

function splitOnce(text: string): [string, string] {
  const at = text.indexOf(':');
  return [text.slice(0, at), text.slice(at + 1)];
}
