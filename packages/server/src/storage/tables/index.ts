/** The door of the tables: what is read and written of each, with its queries. */
export { agents, agentVersions, getAgent, listAgents, putAgent } from './agents.ts';
export {
  answerApproval,
  approvals,
  approvalToRow,
  closeApproval,
  getApproval,
  insertApprovals,
  listApprovals,
} from './approvals.ts';
export { budgets, insertBudgets, listBudgets, lockBudgets, scopeText, updateBudgets } from './budgets.ts';
export { type ClaimRow, idempotencyKeys, insertClaims, selectClaims } from './claims.ts';
export { decisionToRow, insertDecisions, listDecisions, policyDecisions } from './decisions.ts';
export { apiKeys, getKey, listKeys, putKey, revokeKey } from './keys.ts';
export { claimRuns, hasClaimable, heartbeat, ownedRuns, requestCancel, requeueRun, retireWorker, workers } from './queue.ts';
export {
  type EntryRow,
  entryToRow,
  insertEntries,
  insertReservations,
  ledgerEntries,
  listExpiredReservations,
  listLedgerEntries,
  listReservations,
  lockReservations,
  reservations,
  updateReservations,
} from './reservations.ts';
export { type EventRow, insertEvents, readEvents, runEvents } from './run-events.ts';
export { getRun, insertRuns, listRuns, lockRuns, patchToRow, runs, runToRow, type StoredRun, updateRuns } from './runs.ts';
export { closeSession, getSession, insertSessions, listSessions, lockActiveSessions, sessions, sessionToRow } from './sessions.ts';
