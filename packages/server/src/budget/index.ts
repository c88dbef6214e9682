/** The door of budgets: the ledger's arithmetic and what callers need to use it. */
export { costOfTokens, ledgerRules, rowKey, tokensForCost } from './rules.ts';
