/** The door of the ledger: what budgets are made of, and their arithmetic. Pure. */
export type {
  LedgerEntry,
  LedgerOperation,
  LedgerOutcome,
  LedgerRow,
  LedgerRowKey,
  LedgerRules,
  ReservationRow,
  ReserveOperation,
  Subject,
} from './contract.ts';
export { everyUser, rowKey, scopeKey, scopeKeyOfRow, scopeOfKey } from './keys.ts';
export { ledgerRules } from './rules.ts';
export { periodAt } from './windows.ts';
