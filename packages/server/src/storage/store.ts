import type { Clock, IdSource, Timers } from '#core';
import type { LedgerRules } from '#ledger';
import { type BatchResult, commitBatch, createGroupCommit } from '#storage/commit';
import type { Commit, Store } from '#storage/contract';
import { type Driver, databaseNow } from '#storage/program';
import {
  answerApproval,
  claimRuns,
  closeSession,
  definitionFiles,
  definitionHeads,
  findDefinitions,
  forgetNode,
  getAgent,
  getApproval,
  getKey,
  getRun,
  getSession,
  hasClaimable,
  heartbeat,
  importDefinitions,
  listAgents,
  listApprovals,
  listBudgets,
  listDecisions,
  listExpiredReservations,
  listKeySecrets,
  listKeys,
  listLedgerEntries,
  listNodes,
  listReservations,
  listRuns,
  listSessions,
  ownedRuns,
  putAgent,
  putKey,
  readEvents,
  reportNode,
  requestCancel,
  requeueRun,
  retireWorker,
  revokeKey,
  settleKeySecrets,
} from '#storage/tables';

export interface StoreDependencies {
  readonly driver: Driver;
  readonly ledgerRules: LedgerRules;
  readonly clock: Clock;
  readonly timers: Pick<Timers, 'soon'>;
  readonly ids: IdSource;
  /** Whatever is asked of the store is answered, or has failed, after about so long. */
  readonly timeoutMs: number;
  /** Bounds of one transaction; see {@link createGroupCommit} and `commitBatch`. */
  readonly transaction?: { readonly maxCommits: number; readonly maxCharacters: number };
}

const defaultTransaction = { maxCommits: 256, maxCharacters: 4_000_000 };

/** The store on any driver: the queries are the same. */
export function createStore(dependencies: StoreDependencies): Store {
  const { driver, ledgerRules, clock, timers, ids, timeoutMs, transaction = defaultTransaction } = dependencies;
  const { maxCommits, maxCharacters } = transaction;
  const flush = (commits: readonly Commit[], withinMs: number): Promise<readonly BatchResult[]> =>
    driver.write(() => commitBatch({ ledgerRules, ids, nowMs: clock.now(), maxCharacters }, commits), { withinMs });
  const group = createGroupCommit({ flush, maxCommits, timeoutMs, clock, timers });
  const { read, write } = driver;
  let closing: Promise<void> | undefined;
  /** The tenant that had the last turn of the queue here. */
  let lastTurn = '';

  return {
    dialect: driver.dialect,
    now: () => read(databaseNow),
    commit: (commit) => group.commit(commit),

    getRun: (tenantId, runId) => read(() => getRun(tenantId, runId)),
    listRuns: (tenantId, filter, page) => read(() => listRuns(tenantId, filter, page)),
    readEvents: (tenantId, runId, range) => read(() => readEvents(tenantId, runId, range)),

    getSession: (tenantId, sessionId) => read(() => getSession(tenantId, sessionId)),
    listSessions: (tenantId, page) => read(() => listSessions(tenantId, page)),
    closeSession: (tenantId, sessionId, reason = 'the session was closed') => write(() => closeSession(tenantId, sessionId, reason)),

    putAgent: (row) => write(() => putAgent(row)),
    getAgent: (tenantId, name, version) => read(() => getAgent(tenantId, name, version)),
    listAgents: (tenantId, page, shared) => read(() => listAgents(tenantId, page, shared)),

    getApproval: (tenantId, approvalId) => read(() => getApproval(tenantId, approvalId)),
    listApprovals: (tenantId, filter, page) => read(() => listApprovals(tenantId, filter, page)),
    answerApproval: (tenantId, approvalId, answer) => write(() => answerApproval(tenantId, approvalId, answer)),

    listBudgets: (tenantId, filter, nowMs, page) => read(() => listBudgets(tenantId, filter, nowMs, page)),
    listExpiredReservations: (nowMs, limit) => read(() => listExpiredReservations(nowMs, limit)),
    listReservations: (tenantId, filter) => read(() => listReservations(tenantId, filter)),
    listLedgerEntries: (tenantId, filter, page) => read(() => listLedgerEntries(tenantId, filter, page)),

    listDecisions: (tenantId, filter, page) => read(() => listDecisions(tenantId, filter, page)),

    putKey: (row) => write(() => putKey(row)),
    getKey: (keyId) => read(() => getKey(keyId)),
    listKeys: (tenantId, page) => read(() => listKeys(tenantId, page)),
    revokeKey: (tenantId, keyId, at) => write(() => revokeKey(tenantId, keyId, at)),
    settleKeySecrets: (brought, nowMs) => write(() => settleKeySecrets(brought, nowMs)),
    listKeySecrets: () => read(listKeySecrets),

    definitionHeads: () => read(definitionHeads),
    findDefinitions: (kind, fingerprint) => read(() => findDefinitions(kind, fingerprint)),
    definitionFiles: (kind, version) => read(() => definitionFiles(kind, version)),
    importDefinitions: (request) => write(() => importDefinitions(request)),
    reportNode: (row, forgetBefore) => write(() => reportNode(row, forgetBefore)),
    forgetNode: (nodeId) => write(() => forgetNode(nodeId)),
    listNodes: (seenSince) => read(() => listNodes(seenSince)),

    requestCancel: (tenantId, runId, reason) => write(() => requestCancel(tenantId, runId, reason)),
    requeueRun: (tenantId, runId, permit) => write(() => requeueRun(tenantId, runId, permit)),

    // One that does not come through leaves time for another before the lease ends.
    heartbeat: (workerId, leaseMs, liveRuns = 0) =>
      write(() => heartbeat(workerId, leaseMs, liveRuns), { withinMs: Math.min(timeoutMs, Math.max(1_000, leaseMs / 2)) }),
    async claimRuns(workerId, limit, restMs = 0) {
      if (!(await read(() => hasClaimable(restMs)))) return [];
      const claimed = await write(() => claimRuns(workerId, limit, { restMs, after: lastTurn }));
      lastTurn = claimed.after;
      return claimed.runs;
    },
    ownedRuns: (workerId) => read(() => ownedRuns(workerId)),
    retireWorker: (workerId) => write(() => retireWorker(workerId)),

    close() {
      closing ??= group.close().then(() => driver.close());
      return closing;
    },
  };
}
