/** The door of budgets: the ledger's arithmetic and what callers need to use it. */
export { costOfTokens, ledgerRules, rowKey, tokensForCost } from './rules.ts';
export { addAmounts, budgetView, limitOperations, type ScopeNames, scopesOf } from './scopes.ts';
export { createReservationSweeper, type ReservationSweeper, type SweeperDependencies } from './sweeper.ts';
