import type { BudgetRow, BudgetScope, Page, SetBudgetRequest } from '@nexus-agent/protocol';
import { type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/budgets';

/** The server fills in the window. */
type BudgetInput = Omit<SetBudgetRequest, 'window'> & Partial<Pick<SetBudgetRequest, 'window'>>;

export function budgets(calls: Calls) {
  return {
    list: (filter: PageOptions & { scope?: BudgetScope } = {}) =>
      calls.get<Page<BudgetRow>>(
        path,
        { ...paging(filter), scope: filter.scope === undefined ? undefined : `${filter.scope.kind}:${filter.scope.id}` },
        filter,
      ),
    set: (request: BudgetInput, call?: CallOptions) => calls.act<BudgetRow>('PUT', path, request, call),
  };
}
