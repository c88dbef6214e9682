import type { BudgetRefusal, ErrorInfo } from '@nexus-agent/protocol';

/** A refusal that came after waiting says so. */
export function withWait(refusal: BudgetRefusal, waitedMs: number): BudgetRefusal {
  return waitedMs > 0 ? { ...refusal, waitedMs } : refusal;
}

/** What a refused reservation means for the call that asked for it: `budget_exceeded`, with the refusal as its details. */
export function refusalError(refusal: BudgetRefusal, purpose: 'model' | 'tool'): ErrorInfo {
  const { scope, unit, window, asked, available, waitedMs } = refusal;
  const per = window === 'total' ? '' : ` of this ${window}`;
  const waited = waitedMs === undefined ? '' : `, also after it waited ${(waitedMs / 1_000).toFixed(1)} s for what other calls hold`;
  const message = `the ${purpose} call needs ${asked} ${unit}, and the budget${per} of ${scope.kind} ${scope.id} has ${available} left${waited}`;
  return { code: 'budget_exceeded', message, retryable: false, details: { ...refusal } };
}
