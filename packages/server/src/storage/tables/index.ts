/** The door of the tables: what is read and written of each, with its queries. */
import { usageDays } from './accounts.ts';
import { agents, agentVersions } from './agents.ts';
import { approvals } from './approvals.ts';
import { artifacts } from './artifacts.ts';
import { blobPieces, blobs, blobUsage } from './blobs.ts';
import { budgets } from './budgets.ts';
import { idempotencyKeys } from './claims.ts';
import { removals } from './contents.ts';
import { policyDecisions } from './decisions.ts';
import { definitions, nodes } from './definitions.ts';
import { files, fileTrees, fileVersions } from './files.ts';
import { keySecrets } from './key-secrets.ts';
import { apiKeys } from './keys.ts';
import { workers } from './leases.ts';
import { mcpGrants } from './mcp-grants.ts';
import { contents, tenantCounts } from './quotas.ts';
import { ledgerEntries, reservations } from './reservations.ts';
import { jobs } from './retention.ts';
import { runEvents } from './run-events.ts';
import { runs } from './runs.ts';
import { sessions } from './sessions.ts';
import { toolCalls, toolWorkers } from './tool-calls.ts';
import { toolSources } from './tool-sources.ts';

export { addUsage, bookedDays, hasUnfolded, newestDay, spentSoFar, sumFromRow, type UsageDay, usageByDay, usageOfDay } from './accounts.ts';
export { deleteAgent, getAgent, listAgentNames, listAgents, putAgent } from './agents.ts';
export { type LookedAged, type LookedSession, lookAtAged, lookAtSessions, prune } from './aging.ts';
export {
  answerApproval,
  approvalToRow,
  closeApproval,
  getApproval,
  insertApprovals,
  listApprovals,
} from './approvals.ts';
export { artifactsOfSession, artifactToRow, getArtifact, insertArtifacts, listArtifacts } from './artifacts.ts';
export { finishBlob, getBlobPiece, hasBlob, putBlobPiece, removeBlob } from './blobs.ts';
export { insertBudgets, listBudgets, lockBudgets, readBudgets, scopeText, updateBudgets } from './budgets.ts';
export { type ClaimRow, insertClaims, selectClaims } from './claims.ts';
export { closeSession } from './closing.ts';
export { countContents, goneContents, takeContent, touchContent } from './contents.ts';
export { decisionToRow, insertDecisions, listDecisions } from './decisions.ts';
export {
  definitionFiles,
  definitionHeads,
  findDefinitions,
  forgetNode,
  importDefinitions,
  listNodes,
  reportNode,
} from './definitions.ts';
export {
  beginFileTree,
  currentFilesNear,
  filesAt,
  fileToRow,
  firstFileVersionSince,
  firstVersion,
  foldersOf,
  getFile,
  getFileTree,
  insertFiles,
  insertFileTrees,
  insertFileVersions,
  listFiles,
  listFileVersions,
  listRemovedFiles,
  lockFileTrees,
  namesOf,
  replaceFiles,
  requireKept,
  type StoredFile,
  type StoredTree,
  type StoredVersion,
  updateFileTrees,
} from './files.ts';
export { listKeySecrets, missingKeySecret, putKey, settleKeySecrets } from './key-secrets.ts';
export { getKey, listKeys, revokeKey } from './keys.ts';
export { knownDead } from './leases.ts';
export { deleteMcpGrant, getMcpGrant, swapMcpGrant } from './mcp-grants.ts';
export { type Balance, countWork, inheritedBalances, sharedLimits } from './measures.ts';
export { cancelRequest, claimRuns, hasClaimable, heartbeat, ownedRuns, requestCancel, requeueRun, retireWorker } from './queue.ts';
export { type CountedKind, countUpTo, limitedScopes, lockCounts, lockKnownCounts, writeCounts } from './quotas.ts';
export {
  closeReservations,
  type EntryRow,
  entryToRow,
  insertEntries,
  insertReservations,
  listExpiredReservations,
  listLedgerEntries,
  listReservations,
  lockOpenReservations,
  lockReservations,
  updateReservations,
} from './reservations.ts';
export {
  claimJob,
  endRemoval,
  foldEntries,
  listRemovals,
  listTenants,
  pruneWorkers,
  releaseJob,
  removeSession,
  removeSome,
  wantSessionRemoved,
} from './retention.ts';
export { type EventRow, insertEvents, readEventData, readEvents, readEventsWithin } from './run-events.ts';
export {
  getRun,
  insertRuns,
  lastSeqs,
  listOpenRuns,
  listRuns,
  lockRuns,
  newestRunOf,
  type OpenRun,
  openRunsOf,
  patchToRow,
  placeInIndexes,
  runToRow,
  type StoredRun,
  updateRuns,
  updateRunsInPlace,
} from './runs.ts';
export { existingSessions, getSession, insertSessions, listSessions, lockSessions, sessionToRow } from './sessions.ts';
export { claimSuspect, clearSuspect, hasSuspect } from './suspects.ts';

/** All of them, as this version of the program knows them. */
export const tables = [
  agentVersions,
  agents,
  apiKeys,
  approvals,
  artifacts,
  blobPieces,
  blobs,
  blobUsage,
  budgets,
  contents,
  definitions,
  files,
  fileTrees,
  fileVersions,
  idempotencyKeys,
  jobs,
  keySecrets,
  ledgerEntries,
  mcpGrants,
  nodes,
  policyDecisions,
  removals,
  reservations,
  runEvents,
  runs,
  sessions,
  toolCalls,
  toolSources,
  toolWorkers,
  tenantCounts,
  usageDays,
  workers,
] as const;
export {
  cancelToolCall,
  deleteToolWorker,
  endLostToolCall,
  endToolCall,
  heldToolCalls,
  listToolWorkers,
  offerToolCall,
  pruneToolCalls,
  pruneToolWorkers,
  putToolWorker,
  queuedToolPools,
  renewToolCalls,
  reopenToolCall,
  requeueToolCall,
  returnToolCall,
  takeToolCalls,
  toolCallStates,
  touchToolWorkers,
  withdrawToolCall,
} from './tool-calls.ts';
export { deleteToolSource, getToolSource, listToolSources, putToolSource, toolSourceHeads } from './tool-sources.ts';
