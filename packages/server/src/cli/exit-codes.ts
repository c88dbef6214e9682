/** What the exit code of `nexus` tells a script. */
export const exitCodes = { ok: 0, failure: 1, usage: 2, policyDenied: 3, budgetExhausted: 4, tryAgain: 75, interrupted: 130 } as const;

const byErrorCode: Readonly<Record<string, number>> = {
  policy_denied: exitCodes.policyDenied,
  approval_denied: exitCodes.policyDenied,
  approval_expired: exitCodes.policyDenied,
  price_unknown: exitCodes.policyDenied,
  budget_exceeded: exitCodes.budgetExhausted,
  budget_contended: exitCodes.tryAgain,
  config_invalid: exitCodes.usage,
};

export function exitCodeOf(errorCode: string): number {
  return (Object.hasOwn(byErrorCode, errorCode) ? byErrorCode[errorCode] : undefined) ?? exitCodes.failure;
}

/** An error in how the command was called. */
export class UsageError extends Error {
  readonly code = 'usage';
}
