import type { BudgetRow, BudgetScope, BudgetScopeKind, Page, SetBudgetRequest } from '@nexus-agent/protocol';
import { type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/budgets';

/** The server fills in the window. */
type BudgetInput = Omit<SetBudgetRequest, 'window' | 'tenant'> & Partial<Pick<SetBudgetRequest, 'window'>> & { tenant?: string };

export function budgets(calls: Calls) {
  return {
    list: (filter: PageOptions & { scope?: BudgetScope; kinds?: readonly BudgetScopeKind[]; tenant?: string } = {}) =>
      calls.get<Page<BudgetRow>>(
        path,
        {
          ...paging(filter),
          scope: filter.scope === undefined ? undefined : `${filter.scope.kind}:${filter.scope.id}`,
          kind: filter.kinds?.join(','),
          tenant: filter.tenant,
        },
        filter,
      ),
    /** Takes a limit away; what is spent goes on being counted. */
    remove: ({ scope, unit, window, tenant }: Omit<BudgetInput, 'limit'>, call?: CallOptions) =>
      calls.act<void>(
        'DELETE',
        `${path}?${new URLSearchParams({ scope: `${scope.kind}:${scope.id}`, unit, ...(window === undefined ? {} : { window }), ...(tenant === undefined ? {} : { tenant }) })}`,
        undefined,
        call,
      ),
    set: (request: BudgetInput, call?: CallOptions) => calls.act<BudgetRow>('PUT', path, request, call),
  };
}
