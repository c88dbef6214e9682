/** The door of budgets: the ledger's arithmetic and what callers need to use it. */
export { costOfTokens, ledgerRules, rowKey, tokensForCost } from './rules.ts';
export { addAmounts, budgetView, limitOperations, scopesOf } from './scopes.ts';
export { createReservationSweeper } from './sweeper.ts';
