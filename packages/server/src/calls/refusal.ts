import type { BudgetRefusal, ErrorInfo } from '@nexus-agent/protocol';

/** What a refused reservation means for the call that asked for it: `budget_exceeded`, with the refusal as its details. */
export function refusalError(refusal: BudgetRefusal, purpose: 'model' | 'tool'): ErrorInfo {
  const { scope, unit, window, asked, available } = refusal;
  const per = window === 'total' ? '' : ` of this ${window}`;
  const message = `the ${purpose} call needs ${asked} ${unit}, and the budget${per} of ${scope.kind} ${scope.id} has ${available} left`;
  return { code: 'budget_exceeded', message, retryable: false, details: { ...refusal } };
}
