import type { BudgetRefusal, ErrorInfo } from '@nexus-agent/protocol';
import { NexusError } from '#core';

/** Whoever was refused what others hold comes again after so long: calls end within seconds. */
const contendedRetryMs = 1_000;

/** A refusal that came after waiting says so. */
export function withWait(refusal: BudgetRefusal, waitedMs: number): BudgetRefusal {
  return waitedMs > 0 ? { ...refusal, waitedMs } : refusal;
}

/** Whether what is missing is not spent, but held by other calls, which may give it back. */
function isContended({ asked, available, reserved = 0 }: BudgetRefusal): boolean {
  return asked > available && asked <= available + reserved;
}

/**
 * What a refused reservation means for the call that asked for it, with the refusal as its details: `budget_contended`, which may be tried
 * again, while it is only reserved, and `budget_exceeded` when it is not there.
 */
export function refusalError(refusal: BudgetRefusal, purpose: 'model' | 'tool'): ErrorInfo {
  const { scope, unit, window, asked, available, reserved = 0, limit, waitedMs } = refusal;
  const per = window === 'total' ? '' : ` of this ${window}`;
  const waited = waitedMs === undefined ? '' : `, also after it waited ${(waitedMs / 1_000).toFixed(1)} s`;
  const needs = `the ${purpose} call needs ${asked} ${unit}`;
  const details = { ...refusal };
  if (isContended(refusal)) {
    const message = `${needs}; of the budget${per} of ${scope.kind} ${scope.id} other calls hold ${reserved} of ${limit} at the moment and ${available} are free${waited}; try again shortly`;
    return { code: 'budget_contended', message, retryable: true, details };
  }
  const message = `${needs}, and the budget${per} of ${scope.kind} ${scope.id} has ${available} left${waited === '' ? '' : `${waited} for what other calls hold`}`;
  return { code: 'budget_exceeded', message, retryable: false, details };
}

/** {@link refusalError}, to be thrown. */
export function refusalThrown(refusal: BudgetRefusal, purpose: 'model' | 'tool'): NexusError {
  const { code, message, details = {} } = refusalError(refusal, purpose);
  return new NexusError(code, message, { details, ...(code === 'budget_contended' ? { retryAfterMs: contendedRetryMs } : {}) });
}
