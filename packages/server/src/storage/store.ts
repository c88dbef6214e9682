import { BrokenInvariant, type Clock, type IdSource, NexusError, type Timers } from '#core';
import type { LedgerRules } from '#ledger';
import { type BatchResult, commitBatch, createGroupCommit } from '#storage/commit';
import { type Commit, type Quotas, type Store, unlimited } from '#storage/contract';
import { createClockWatch, type Driver, databaseNow } from '#storage/program';
import {
  answerApproval,
  beginFileTree,
  claimJob,
  claimRuns,
  claimSuspect,
  clearSuspect,
  closeSession,
  countContents,
  definitionFiles,
  definitionHeads,
  deleteAgent,
  endRemoval,
  findDefinitions,
  finishBlob,
  firstFileVersionSince,
  foldEntries,
  forgetNode,
  getAgent,
  getApproval,
  getBlobPiece,
  getFile,
  getFileTree,
  getKey,
  getRun,
  getSession,
  hasBlob,
  hasClaimable,
  hasSuspect,
  heartbeat,
  importDefinitions,
  lastSeqs,
  listAgentNames,
  listAgents,
  listApprovals,
  listBudgets,
  listDecisions,
  listExpiredReservations,
  listFiles,
  listFileVersions,
  listKeySecrets,
  listKeys,
  listLedgerEntries,
  listNodes,
  listOpenRuns,
  listRemovals,
  listRemovedFiles,
  listReservations,
  listRuns,
  listSessions,
  listTenants,
  missingKeySecret,
  ownedRuns,
  prune,
  pruneWorkers,
  putAgent,
  putBlobPiece,
  putKey,
  readEventData,
  readEvents,
  readEventsWithin,
  releaseJob,
  removeBlob,
  removeSession,
  removeSome,
  reportNode,
  requestCancel,
  requeueRun,
  retireWorker,
  revokeKey,
  settleKeySecrets,
  spentSoFar,
  takeContent,
  touchContent,
  wantSessionRemoved,
} from '#storage/tables';
import { countAged, countIdleSessions, listIdleSessions } from './aged.ts';
import { measureAll } from './measures.ts';
import { createSharedLook } from './shared-look.ts';
import { toolStoreOn } from './tool-store.ts';
import { createUsage } from './usage.ts';

export interface StoreDependencies {
  readonly driver: Driver;
  readonly ledgerRules: LedgerRules;
  readonly clock: Clock;
  readonly timers: Pick<Timers, 'soon'>;
  readonly ids: IdSource;
  /** Whatever is asked of the store is answered, or has failed, after about so long. */
  readonly timeoutMs: number;
  /** Bounds of one transaction; see {@link createGroupCommit} and `commitBatch`. */
  /** None when left out. */
  readonly quotas?: Quotas;
  /** Hears of each commit that was refused because rows contradict each other. */
  readonly onBroken?: (broken: BrokenInvariant) => void;
  readonly transaction?: { readonly maxCommits: number; readonly maxCharacters: number };
}

/** Runs of a session that one transaction removes. */
const runsOfRemoval = 500;

const defaultTransaction = { maxCommits: 256, maxCharacters: 4_000_000 };

/** The store on any driver: the queries are the same. */
export function createStore(dependencies: StoreDependencies): Store {
  const { driver, ledgerRules, clock, timers, ids, timeoutMs, transaction = defaultTransaction, quotas = unlimited } = dependencies;
  const { onBroken } = dependencies;
  const { maxCommits, maxCharacters } = transaction;
  const apply = (commits: readonly Commit[], alone: boolean, withinMs: number) =>
    driver.write(() => commitBatch({ ledgerRules, quotas, ids, nowMs: clock.now(), maxCharacters, alone }, commits), { withinMs });
  const flush = async (commits: readonly Commit[], withinMs: number): Promise<readonly BatchResult[]> => {
    const results = (await apply(commits, false, withinMs)) ?? (await apply(commits, true, withinMs));
    if (results === null) throw new NexusError('internal', 'a batch that has the books alone cannot ask for them');
    for (const result of results) if (result.type === 'failed' && result.error instanceof BrokenInvariant) onBroken?.(result.error);
    return results;
  };
  const group = createGroupCommit({ flush, maxCommits, timeoutMs, clock, timers });
  const { read, write } = driver;
  let closing: Promise<void> | undefined;
  const watch = createClockWatch(clock);
  /** The tenant that had the last turn of the queue here. */
  let lastTurn = '';

  return {
    dialect: driver.dialect,
    now: () => read(databaseNow),
    commit: (commit) => group.commit(commit),

    getRun: (tenantId, runId) => read(() => getRun(tenantId, runId)),
    listRuns: (tenantId, filter, page) => read(() => listRuns(tenantId, filter, page)),
    listOpenRuns: (tenantId, sessionId) => read(() => listOpenRuns(tenantId, sessionId)),
    lastSeqOf: createSharedLook({ read: (tenantId, runIds) => read(() => lastSeqs(tenantId, runIds)), timers }),
    readEvents: (tenantId, runId, range) => read(() => readEvents(tenantId, runId, range)),
    readEventsWithin: (tenantId, runId, range) => read(() => readEventsWithin(tenantId, runId, range)),
    readEventData: (tenantId, runId, piece) => read(() => readEventData(tenantId, runId, piece)),

    getSession: (tenantId, sessionId) => read(() => getSession(tenantId, sessionId)),
    listSessions: (tenantId, page) => read(() => listSessions(tenantId, page)),
    closeSession: (tenantId, sessionId, reason = 'the session was closed') => write(() => closeSession(tenantId, sessionId, reason)),

    getFileTree: (tenantId, treeId) => read(() => getFileTree(tenantId, treeId)),
    beginFileTree: (tenantId, tree, files) => write(() => beginFileTree(tenantId, tree, files, clock.now(), quotas.tenant)),
    listFiles: (tenantId, treeId, range, page) => read(() => listFiles(tenantId, treeId, range, page)),
    listRemovedFiles: (tenantId, treeId, range, page) => read(() => listRemovedFiles(tenantId, treeId, range, page)),
    getFile: (tenantId, treeId, path, version) => read(() => getFile(tenantId, treeId, path, version)),
    listFileVersions: (tenantId, treeId, callIds) => read(() => listFileVersions(tenantId, treeId, callIds)),
    firstFileVersionSince: (tenantId, treeId, run) => read(() => firstFileVersionSince(tenantId, treeId, run)),

    hasBlob: (tenantId, sha256) => read(() => hasBlob(tenantId, sha256)),
    putBlobPiece: (tenantId, sha256, index, data) => write(() => putBlobPiece(tenantId, sha256, index, data)),
    getBlobPiece: (tenantId, sha256, index) => read(() => getBlobPiece(tenantId, sha256, index)),
    finishBlob: (blob, maxTenantBytes) => write(() => finishBlob(blob, maxTenantBytes, clock.now())),

    removeBlob: (tenantId, sha256) => write(() => removeBlob(tenantId, sha256)),
    touchContent: (content, keepMs, removingMs) => write(() => touchContent(content, keepMs, removingMs, quotas.tenant)),
    takeContent: (removal, removingMs) => write(() => takeContent(removal, removingMs)),
    countContents: (tenantId, limit) => read(() => countContents(tenantId, limit)),

    putAgent: (row) => write(() => putAgent(row, quotas.tenant)),
    deleteAgent: (tenantId, name) => write(() => deleteAgent(tenantId, name)),
    getAgent: (tenantId, name, version) => read(() => getAgent(tenantId, name, version)),
    listAgents: (tenantId, page, shared) => read(() => listAgents(tenantId, page, shared)),
    listAgentNames: (tenantId, limit) => read(() => listAgentNames(tenantId, limit)),

    ...toolStoreOn(driver, quotas.tenant),

    getApproval: (tenantId, approvalId) => read(() => getApproval(tenantId, approvalId)),
    listApprovals: (tenantId, filter, page) => read(() => listApprovals(tenantId, filter, page)),
    answerApproval: (tenantId, approvalId, answer) => write(() => answerApproval(tenantId, approvalId, answer)),

    listBudgets: (tenantId, filter, nowMs, page) => read(() => listBudgets(tenantId, filter, nowMs, page)),
    listExpiredReservations: (nowMs, limit) => read(() => listExpiredReservations(nowMs, limit)),
    listReservations: (tenantId, filter) => read(() => listReservations(tenantId, filter)),
    listLedgerEntries: (tenantId, filter, page) => read(() => listLedgerEntries(tenantId, filter, page)),
    spentIn: (tenantId, scope, window, nowMs) => read(() => spentSoFar(tenantId, scope, window, nowMs)),
    usage: createUsage(driver),

    listDecisions: (tenantId, filter, page) => read(() => listDecisions(tenantId, filter, page)),

    putKey: (row) => write(() => putKey(row, quotas.tenant)),
    getKey: (keyId) => read(() => getKey(keyId)),
    listKeys: (tenantId, page) => read(() => listKeys(tenantId, page)),
    revokeKey: (tenantId, keyId, at) => write(() => revokeKey(tenantId, keyId, at)),
    settleKeySecrets: (brought, nowMs) => write(() => settleKeySecrets(brought, nowMs)),
    listKeySecrets: () => read(listKeySecrets),
    missingKeySecret: (brought, nowMs) => read(() => missingKeySecret(brought, nowMs)),

    definitionHeads: () => read(definitionHeads),
    findDefinitions: (kind, fingerprint) => read(() => findDefinitions(kind, fingerprint)),
    definitionFiles: (kind, version) => read(() => definitionFiles(kind, version)),
    importDefinitions: (request) => write(() => importDefinitions(request)),
    reportNode: (row, forgetBefore) => write(() => reportNode(row, forgetBefore)),
    forgetNode: (nodeId) => write(() => forgetNode(nodeId)),
    listNodes: (seenSince) => read(() => listNodes(seenSince)),

    requestCancel: (tenantId, runId, reason) => write(() => requestCancel(tenantId, runId, reason)),
    requeueRun: (tenantId, runId, permit, mostDeaths) => write(() => requeueRun(tenantId, runId, permit, mostDeaths)),

    // One that does not come through leaves time for another before the lease ends.
    heartbeat: (workerId, leaseMs, liveRuns = 0) =>
      write(() => heartbeat(workerId, leaseMs, liveRuns, watch), {
        withinMs: Math.min(timeoutMs, Math.max(1_000, leaseMs / 2)),
        when: 'at_once',
      }),
    async claimRuns(workerId, limit, restMs = 0) {
      if (!(await read(() => hasClaimable(restMs, watch)))) return [];
      const claimed = await write(() => claimRuns(workerId, limit, { restMs, after: lastTurn, clock: watch }));
      if (claimed.madeUp !== null) watch.madeUp(claimed.madeUp);
      lastTurn = claimed.after;
      return claimed.runs;
    },
    async claimSuspect(workerId, isAlone, setAside) {
      return (await read(() => hasSuspect(setAside))) ? await write(() => claimSuspect(workerId, isAlone, setAside)) : null;
    },
    hasSuspect: (setAside) => read(() => hasSuspect(setAside)),
    clearSuspect: (run) => write(() => clearSuspect(run)),
    ownedRuns: (workerId) => read(() => ownedRuns(workerId)),
    retireWorker: (workerId) => write(() => retireWorker(workerId)),

    measure: (nowMs) => measureAll(driver, nowMs),
    pool: () => driver.pool(),
    claimJob: (name, owner, ttlMs) => write(() => claimJob(name, owner, ttlMs)),
    releaseJob: (name, owner) => write(() => releaseJob(name, owner)),
    listTenants: () => read(listTenants),
    listIdleSessions: (tenantId, before, page) => listIdleSessions(driver, tenantId, before, page),
    countIdleSessions: (tenantId, before, limit) => countIdleSessions(driver, tenantId, before, limit),
    removeSession: (tenantId, sessionId, idleBefore) =>
      write(() => removeSession(tenantId, sessionId, { idleBefore, limit: runsOfRemoval })),
    wantSessionRemoved: (tenantId, sessionId) => write(() => wantSessionRemoved(tenantId, sessionId)),
    listRemovals: (before, limit) => read(() => listRemovals(before, limit)),
    removeSome: (removal, limit, keepMs) => write(() => removeSome(removal, limit, keepMs)),
    endRemoval: (removal) => write(() => endRemoval(removal)),
    foldEntries: (tenantId, day, limit) => write(() => foldEntries(tenantId, day, limit)),
    prune: (tenantId, kind, step) => write(() => prune(tenantId, kind, step)),
    countAged: (tenantId, kind, range, limit) => countAged(driver, tenantId, kind, range, limit),
    pruneWorkers: (before, limit) => write(() => pruneWorkers(before, limit)),

    giveUp: () => driver.giveUp(),
    close() {
      closing ??= group.close().then(() => driver.close());
      return closing;
    },
  };
}
