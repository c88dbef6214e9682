import {
  BudgetRow,
  type BudgetScope,
  BudgetScopeKind,
  BudgetUnit,
  BudgetWindow,
  page,
  SetBudgetRequest,
  TenantId,
} from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Call, pageQuery, pageRequest, type Route, type RouteAnswer, route } from '#api/contract';

const tag = 'budgets';

const scope = z.string().regex(/^(tenant|project|agent|user|session|run):.{1,200}$/, {
  error: 'expected <kind>:<id>, such as session:ses_01h455vb4pex5vsknk084sn02q',
});
const kinds = BudgetScopeKind.options.join('|');
const tenant = TenantId.optional().meta({ description: 'Of an owner: whose, if not of their own tenant' });
const BudgetsQuery = pageQuery.extend({
  tenant,
  scope: scope.optional(),
  kind: z
    .string()
    .regex(new RegExp(`^(${kinds})(,(${kinds}))*$`), {
      error: `expected kinds of scopes with commas between them: ${kinds.replaceAll('|', ', ')}`,
    })
    .optional()
    .meta({ description: 'Only scopes of these kinds, such as `tenant,project,agent,user`' }),
});
const OneBudgetQuery = z.strictObject({ scope, unit: BudgetUnit, window: BudgetWindow.default('total'), tenant });

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
        const filter = {
          tenant: query.tenant,
          ...(query.scope === undefined ? {} : { scope: budgetScopeOf(query.scope) }),
          ...(query.kind === undefined ? {} : { kinds: query.kind.split(',').map((kind) => BudgetScopeKind.parse(kind)) }),
        };
        return { status: 200, body: await services.budgets.list(principal, filter, pageRequest(query)) };
      },
    }),
    route({ ...setBudget, method: 'PUT', operationId: 'setBudget' }),
    route({ ...setBudget, method: 'POST', operationId: 'setBudgetByPost' }),
    route({
      method: 'DELETE',
      path: '/v1/budgets',
      operationId: 'removeBudget',
      summary: 'Take a limit away: the balance goes on counting, that of a user under the limit of every user',
      tag,
      scope: 'admin',
      asks: { action: 'admin.budgets', part: 'budgets' },
      query: OneBudgetQuery,
      responses: { 204: { description: 'The limit is gone' } },
      async handle({ services, principal, query }) {
        await services.budgets.remove(principal, { ...query, scope: budgetScopeOf(query.scope) });
        return { status: 204 };
      },
    }),
  ];
}

/** The scope of a text that the query's schema has checked. */
function budgetScopeOf(text: string): BudgetScope {
  const at = text.indexOf(':');
  return { kind: BudgetScopeKind.parse(text.slice(0, at)), id: text.slice(at + 1) };
}
