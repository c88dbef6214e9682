/** The door of the ledger: what budgets are made of, and their arithmetic. Pure. */
export type {
  LedgerChange,
  LedgerEntry,
  LedgerOperation,
  LedgerOutcome,
  LedgerRow,
  LedgerRowKey,
  LedgerRules,
  LedgerState,
  ReservationRow,
  ReserveOperation,
  Subject,
} from './contract.ts';
export { everyUser, rowKey, scopeKey, scopeKeyOfRow, scopeOfKey } from './keys.ts';
export { bookedIn, ledgerRules } from './rules.ts';
export { periodAt } from './windows.ts';
