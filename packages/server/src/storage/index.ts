/** The door of storage: its contracts. Drivers are opened by `apps` through `#storage/drivers`. */
export type {
  AgentStore,
  AgentVersionRow,
  ApprovalRow,
  Commit,
  CommitResult,
  CommitStore,
  DecisionRow,
  IdempotencyClaim,
  IdentityStore,
  KeyRow,
  LedgerStore,
  PageOf,
  PageRequest,
  PlaceInLog,
  Queue,
  RunPatch,
  RunRow,
  RunStore,
  SessionRow,
  Store,
  StoredEvent,
  UsageQuery,
  UsageSum,
} from '#storage/contract';
export { createSharedClock, type SharedClock } from './shared-clock.ts';
export { viewPage } from './view-page.ts';
