/** The door of storage: its contracts. Drivers are opened by `apps` through `#storage/drivers`. */
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
} from './ledger-types.ts';
export { periodAt } from './period.ts';
export type {
  AgentVersionRow,
  ApprovalRow,
  Bus,
  Commit,
  CommitResult,
  DecisionRow,
  IdempotencyClaim,
  KeyRow,
  PageOf,
  PageRequest,
  RunPatch,
  RunRow,
  SessionRow,
  Store,
  StoredEvent,
} from './types.ts';
export { viewPage } from './view-page.ts';
