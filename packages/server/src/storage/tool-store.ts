import type { ArtifactStore, McpGrantStore, TenantQuotas, ToolCallStore, ToolSourceStore } from '#storage/contract';
import type { Driver } from '#storage/program';
import {
  cancelToolCall,
  deleteMcpGrant,
  deleteToolSource,
  deleteToolWorker,
  endLostToolCall,
  endToolCall,
  getArtifact,
  getMcpGrant,
  getToolSource,
  heldToolCalls,
  listArtifacts,
  listToolSources,
  listToolWorkers,
  offerToolCall,
  pruneToolCalls,
  pruneToolWorkers,
  putToolSource,
  putToolWorker,
  queuedToolPools,
  renewToolCalls,
  reopenToolCall,
  requeueToolCall,
  returnToolCall,
  swapMcpGrant,
  takeToolCalls,
  toolCallStates,
  toolSourceHeads,
  touchToolWorkers,
  withdrawToolCall,
} from '#storage/tables';

/** The part of the store that keeps where tools come from, the queue of their workers, and what of their results is kept. */
export function toolStoreOn(
  { read, write }: Driver,
  quotas: TenantQuotas,
): ToolSourceStore & McpGrantStore & ToolCallStore & ArtifactStore {
  return {
    getArtifact: (tenantId, artifactId) => read(() => getArtifact(tenantId, artifactId)),
    listArtifacts: (tenantId, filter, page) => read(() => listArtifacts(tenantId, filter, page)),

    putToolSource: (row, before) => write(() => putToolSource(row, before, quotas)),
    getToolSource: (tenantId, kind, name) => read(() => getToolSource(tenantId, kind, name)),
    listToolSources: (tenantId, kind, page) => read(() => listToolSources(tenantId, kind, page)),
    toolSourceHeads: (tenantId) => read(() => toolSourceHeads(tenantId)),
    deleteToolSource: (tenantId, kind, name) => write(() => deleteToolSource(tenantId, kind, name)),

    getMcpGrant: (tenantId, server, slot) => read(() => getMcpGrant(tenantId, server, slot)),
    swapMcpGrant: (row, version) => write(() => swapMcpGrant(row, version)),
    deleteMcpGrant: (tenantId, server, slot, version) => write(() => deleteMcpGrant(tenantId, server, slot, version)),

    offerToolCall: (row) => write(() => offerToolCall(row)),
    takeToolCalls: (of, options) => write(() => takeToolCalls(of, options)),
    renewToolCalls: (of, held, leaseUntil) => write(() => renewToolCalls(of, held, leaseUntil)),
    endToolCall: (of, held, answer) => write(() => endToolCall(of, held, answer)),
    endLostToolCall: (tenantId, held, nowMs, answer) => write(() => endLostToolCall(tenantId, held, nowMs, answer)),
    reopenToolCall: (tenantId, held, until) => write(() => reopenToolCall(tenantId, held, until)),
    returnToolCall: (of, held) => write(() => returnToolCall(of, held)),
    requeueToolCall: (tenantId, held, nowMs) => write(() => requeueToolCall(tenantId, held, nowMs)),
    cancelToolCall: (tenantId, callKey, answer) => write(() => cancelToolCall(tenantId, callKey, answer)),
    withdrawToolCall: (tenantId, callKey, answer) => write(() => withdrawToolCall(tenantId, callKey, answer)),
    heldToolCalls: (tenantId, workerId) => read(() => heldToolCalls(tenantId, workerId)),
    toolCallStates: (tenantId, callKeys) => read(() => toolCallStates(tenantId, callKeys)),
    queuedToolPools: (pools) => read(() => queuedToolPools(pools)),
    pruneToolCalls: (nowMs, limit) => write(() => pruneToolCalls(nowMs, limit)),
    putToolWorker: (row) => write(() => putToolWorker(row)),
    deleteToolWorker: (tenantId, workerId, nodeId) => write(() => deleteToolWorker(tenantId, workerId, nodeId)),
    touchToolWorkers: (nodeId, nowMs) => write(() => touchToolWorkers(nodeId, nowMs)),
    listToolWorkers: (tenantId, seenSince, limit) => read(() => listToolWorkers(tenantId, seenSince, limit)),
    pruneToolWorkers: (seenBefore, limit) => write(() => pruneToolWorkers(seenBefore, limit)),
  };
}
