import type { BudgetScope, RunId, SessionId } from '@nexus-agent/protocol';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import type { ApprovalRow, DecisionRow, Store } from '../../packages/server/src/storage/index.ts';
import { huge, longSession, longSessionRun, waitingApproval, waitingRun } from './grown-database.ts';
import { ids, runRow, sessionRow } from './stores.ts';

const dayMs = 86_400_000;

function call(id: string, scopes: readonly BudgetScope[], runId: string | null): LedgerOperation[] {
  const fixed = { tokens: 3, costMicroUsd: 9 };
  return [
    { type: 'reserve', reservationId: id, runId, scopes, model: 'sim/m1', fixed, expiresAt: Date.now() + dayMs },
    { type: 'settle', reservationId: id, actual: fixed },
  ];
}

function decision(runId: string | null): DecisionRow {
  const record = { id: ids.next<string>('decision'), effect: 'allow' as const, action: 'tool.execute' as const, resource: 'x' };
  return { ...record, reasons: [], policyVersion: 'v', principal: 'ada', runId, callId: null, argumentsHash: null, at: Date.now() };
}

function approval(runId: RunId, sessionId: SessionId): ApprovalRow {
  return {
    ...{
      tenantId: huge,
      approvalId: ids.next<string>('approval'),
      runId,
      sessionId,
      callId: 'call_1',
      kind: 'tool_call',
      status: 'pending',
    },
    ...{ toolName: 'mail', input: {}, question: null, role: null, defaultDecision: 'deny', deadlineAt: Date.now() + dayMs },
    ...{ decision: null, answer: null, decidedBy: null, decidedAt: null, createdAt: Date.now() },
  };
}

/**
 * Asks a store on a grown database everything that it can be asked, with every filter, of its largest tenant and its longest session.
 * Nothing here checks the answers: whoever listens sees what the store asks of the database for them.
 */
export async function visitStore(store: Store): Promise<void> {
  await visitLists(store);
  await visitCommits(store);
  await visitQueue(store);
  await visitRest(store);
  await visitRetention(store);
  await visitTools(store);
}

/** The first page and the one after it, of which only the second has a cursor in its query. */
async function pages(list: (page: { limit: number; cursor?: string }) => Promise<{ nextCursor: string | null }>): Promise<void> {
  const { nextCursor } = await list({ limit: 20 });
  if (nextCursor !== null) await list({ limit: 20, cursor: nextCursor });
}

async function visitLists(store: Store): Promise<void> {
  const statuses = ['queued', 'running', 'waiting', 'completed', 'failed', 'cancelled'] as const;
  await pages((page) => store.listRuns(huge, {}, page));
  for (const status of statuses) {
    await pages((page) => store.listRuns(huge, { status }, page));
    await pages((page) => store.listRuns(huge, { status, sessionId: longSession }, page));
  }
  await pages((page) => store.listRuns(huge, { sessionId: longSession }, page));
  await pages((page) => store.listRuns(huge, { sessionId: longSession, parentRunId: null }, page));
  await pages((page) => store.listRuns(huge, { parentRunId: longSessionRun }, page));
  await store.listOpenRuns(huge, longSession);
  await pages((page) => store.listSessions(huge, page));
  for (const status of [undefined, 'pending', 'decided'] as const) {
    const of = status === undefined ? {} : { status };
    await pages((page) => store.listApprovals(huge, of, page));
    await pages((page) => store.listApprovals(huge, { ...of, runId: waitingRun }, page));
  }
  await pages((page) => store.listDecisions(huge, {}, page));
  await pages((page) => store.listDecisions(huge, { runId: longSessionRun }, page));
  await pages((page) => store.listLedgerEntries(huge, {}, page));
  await pages((page) => store.listLedgerEntries(huge, { after: Date.now() - 30 * dayMs }, page));
  await pages((page) => store.listLedgerEntries(huge, { runId: longSessionRun }, page));
  await pages((page) => store.listBudgets(huge, {}, Date.now(), page));
  await pages((page) => store.listBudgets(huge, { kinds: ['user', 'tenant', 'agent', 'project'] }, Date.now(), page));
  await pages((page) => store.listBudgets(huge, { scopes: [{ kind: 'session', id: longSession }] }, Date.now(), page));
  for (const by of ['day', 'user', 'agent', 'model', 'project'] as const)
    await pages((page) => store.usage(huge, { by, from: '2026-01-01', to: '2027-01-01' }, { ...page, limit: 1 }));
  await pages((page) => store.listKeys(huge, page));
  await pages((page) => store.listAgents(huge, page));
  await pages((page) => store.listAgents(huge, page, []));
  await store.listAgentNames(huge, 20);
  await pages((page) => store.listArtifacts(huge, {}, page));
  await pages((page) => store.listArtifacts(huge, { sessionId: longSession }, page));
  await pages((page) => store.listArtifacts(huge, { runId: longSessionRun }, page));
  await pages((page) => store.listArtifacts(huge, { sessionId: longSession, runId: longSessionRun }, page));
  await store.getArtifact(huge, 'art_1');
  await store.listReservations(huge, { runId: longSessionRun });
  await store.listReservations(huge, { runId: longSessionRun, state: 'open' });
  await store.listExpiredReservations(Date.now(), 100);
  for (const kind of ['user', 'agent', 'project', 'tenant', 'run', 'session'] as const)
    await store.spentIn(huge, { kind, id: kind === 'run' ? longSessionRun : 'user-1' }, 'month', Date.now());
}

async function visitCommits(store: Store): Promise<void> {
  const session = sessionRow(huge, { user: 'user-1' });
  const { sessionId } = session;
  const scopes: BudgetScope[] = [
    { kind: 'session', id: sessionId },
    { kind: 'user', id: 'user-1' },
    { kind: 'user', id: 'somebody-new' },
    { kind: 'agent', id: 'helper' },
    { kind: 'tenant', id: huge },
  ];
  const run = runRow(huge, { sessionId, leaseOwner: 'worker', status: 'running' });
  const asked = approval(run.runId, sessionId);
  await store.commit({ tenantId: huge, sessions: [session], idempotency: { key: run.runId, requestHash: 'h', resourceId: run.runId } });
  await store.commit({
    tenantId: huge,
    createRun: run,
    openSession: sessionId,
    place: { whileBusy: 'wait', after: null },
    events: [{ type: 'run.started', data: { workerId: 'worker', epoch: 0 } }],
    decisions: [decision(run.runId)],
    approvals: [asked],
    ledger: call(`res-${run.runId}`, scopes, run.runId),
  });
  const limits = scopes.map((scope) => ({ type: 'limit', scope, unit: 'wallMs', window: 'month', limit: 10_000_000 }) as const);
  await store.commit({ tenantId: huge, ledger: limits });
  await store.commit({
    tenantId: huge,
    ledger: [{ type: 'unlimit', scope: { kind: 'agent', id: 'helper' }, unit: 'wallMs', window: 'month' }],
  });
  const child = runRow(huge, { sessionId, parentRunId: run.runId });
  await store.commit({ tenantId: huge, createRun: child, openSession: sessionId, place: { whileBusy: { interrupt: 'news' } } });
  await store.beginFileTree(huge, { treeId: sessionId, sessionId }, []);
  const content = { sha256: 'a'.repeat(64), bytes: 5, executable: false };
  await store.touchContent({ tenantId: huge, sha256: content.sha256 }, 1_000, 1_000);
  const change = { treeId: sessionId, runId: run.runId, callId: 'call_2', changes: [{ path: 'a/b', content }] };
  await store.commit({ tenantId: huge, files: [change] });
  const about = { tool: 'big', mediaType: 'text/plain', bytes: 5, characters: 5, lines: 1, whole: true, createdAt: Date.now() };
  const artifactId = ids.next<string>('artifact');
  const artifact = { tenantId: huge, artifactId, sessionId, runId: run.runId, callId: 'call_2', sha256: content.sha256, ...about };
  await store.commit({ tenantId: huge, artifacts: [artifact] });
  await store.commit({ tenantId: huge, copyFiles: { sessionId, from: { treeId: sessionId, version: 1 }, to: run.runId } });
  await store.commit({
    tenantId: huge,
    run: { runId: run.runId, epoch: 0, owner: 'worker', lastSeq: 1, patch: { status: 'failed', leaseOwner: null, resumable: true } },
    closeApprovals: [{ approvalId: asked.approvalId, status: 'cancelled' }],
    leaves: sessionId,
    wake: [child.runId],
  });
  await store.requeueRun(huge, run.runId, decision(run.runId));
  await store.requestCancel(huge, run.runId, 'enough');
  await store.closeSession(huge, sessionId);
  await store.closeSession(huge, longSession);
  await store.removeSession(huge, longSession, Date.now() + 1);
  await store.removeSession(huge, sessionId);
  await store.wantSessionRemoved(huge, sessionId);
}

async function visitQueue(store: Store): Promise<void> {
  await store.heartbeat('worker', 1_000, 3);
  // Of a worker that is lost, of others' work, and of what killed its workers.
  await store.heartbeat('lost', 1, 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const claimed = await store.claimRuns('worker', 5);
  await store.claimRuns('worker', 5, 10);
  await store.hasSuspect(5);
  const suspect = await store.claimSuspect('worker', true, 5);
  const [first] = claimed;
  if (first !== undefined) await store.clearSuspect(suspect ?? first);
  await store.ownedRuns('worker');
  await store.retireWorker('worker');
  await store.claimRuns('another', 5);
}

async function visitRest(store: Store): Promise<void> {
  await store.now();
  await store.getRun(huge, longSessionRun);
  await store.getSession(huge, longSession);
  await store.readEvents(huge, longSessionRun, { after: 2, limit: 5 });
  await store.lastSeqOf(huge, longSessionRun);
  await store.readEventsWithin(huge, longSessionRun, { after: 2, limit: 5, maxChars: 100 });
  await store.readEventsWithin(huge, longSessionRun, { after: 2, limit: 1, maxChars: 100 });
  await store.readEventData(huge, longSessionRun, { seq: 2, from: 0, chars: 10 });
  const range = { after: 5, version: 40 };
  await store.getFileTree(huge, longSession);
  await pages((page) => store.listFiles(huge, longSession, range, page));
  await pages((page) => store.listRemovedFiles(huge, longSession, range, page));
  await store.getFile(huge, longSession, 'file-1', 40);
  await store.listFileVersions(huge, longSession, ['call_1', 'call_2']);
  await store.firstFileVersionSince(huge, longSession, { runId: longSessionRun, createdAt: Date.now() - 10 * dayMs });
  const blob = { tenantId: huge, sha256: 'b'.repeat(64), bytes: 4 };
  await store.hasBlob(huge, blob.sha256);
  await store.putBlobPiece(huge, blob.sha256, 0, 'AAAA');
  await store.getBlobPiece(huge, blob.sha256, 0);
  await store.finishBlob(blob, 1);
  await store.finishBlob(blob, 1_000_000);
  await store.removeBlob(huge, blob.sha256);
  await store.touchContent(blob, 0, 1_000);
  await store.takeContent({ tenantId: huge, kind: 'content', id: blob.sha256 }, 1_000);
  await store.takeContent({ tenantId: huge, kind: 'leaving', id: blob.sha256 }, 1_000);
  await store.endRemoval({ tenantId: huge, kind: 'leaving', id: blob.sha256 });
  await store.countContents(huge, 100);
  const agent = { tenantId: huge, name: 'mine', version: 'agv_x', definition: { name: 'mine' } as never, createdAt: 1 };
  await store.putAgent({ ...agent, source: 'file' });
  await store.putAgent({ ...agent, source: 'api' });
  await store.getAgent(huge, 'mine');
  await store.getAgent(huge, 'mine', 'agv_x');
  await store.deleteAgent(huge, 'mine');
  await store.getApproval(huge, waitingApproval);
  await store.answerApproval(huge, waitingApproval, {
    decision: 'deny',
    answer: null,
    decidedBy: 'ada',
    at: 1,
    permit: decision(waitingRun),
  });
  const secret = { fingerprint: 'f', origin: 'configured', secret: null, createdAt: 1 } as const;
  await store.settleKeySecrets([secret], 1);
  await store.listKeySecrets();
  await store.missingKeySecret([], 1);
  const key = { tenantId: huge, keyId: 'k', name: 'n', hash: 'h', secretId: 'f', scopes: [], roles: [], createdAt: 1 };
  await store.putKey({ ...key, expiresAt: null, revokedAt: null });
  await store.getKey('k');
  await store.revokeKey(huge, 'k', 2);
  const imported = { kind: 'policies', fingerprint: 'p', origin: 'here', importedAt: 1, files: [], again: null } as const;
  await store.importDefinitions(imported);
  await store.definitionHeads();
  await store.findDefinitions('policies', 'p');
  await store.definitionFiles('policies', 1);
  await store.reportNode({ nodeId: 'n', name: 'n', status: {}, seenAt: 1 }, 0);
  await store.listNodes(0);
  await store.forgetNode('n');
  await store.measure(Date.now());
  store.pool();
}

async function visitRetention(store: Store): Promise<void> {
  await store.claimJob('job', 'me', 1_000);
  await store.releaseJob('job', 'me');
  await store.listTenants();
  const before = Date.now() - 60 * dayMs;
  const { next } = await store.listIdleSessions(huge, before, { limit: 20 });
  if (next !== null) await store.listIdleSessions(huge, before, { limit: 20, after: next });
  await store.countIdleSessions(huge, before, 10_000);
  for (const kind of ['decisions', 'idempotencyKeys', 'reservations', 'ledgerEntries', 'idleBalances'] as const) {
    await store.countAged(huge, kind, { before, idleBefore: before }, 10_000);
    await store.countAged(huge, kind, { before, idleBefore: null }, 10_000);
    const step = await store.prune(huge, kind, { before, limit: 100 });
    if (step.next !== null) await store.prune(huge, kind, { before, limit: 100, after: step.next });
  }
  await store.foldEntries(huge, '2027-01-01', 100);
  const [removal] = await store.listRemovals(Date.now() + dayMs, 10);
  if (removal !== undefined) await store.removeSome(removal, 100, dayMs);
  await store.removeSome({ tenantId: huge, kind: 'run', id: longSessionRun }, 5, dayMs);
  await store.removeSome({ tenantId: huge, kind: 'session', id: longSession }, 5, dayMs);
  await store.pruneWorkers(before, 100);
}

async function visitTools(store: Store): Promise<void> {
  const source = { tenantId: huge, kind: 'http' as const, name: 'a', version: 'v', content: {}, createdAt: 1 };
  await store.putToolSource(source);
  await store.getToolSource(huge, 'http', 'a');
  await pages((page) => store.listToolSources(huge, 'http', page));
  await store.toolSourceHeads(huge);
  await store.deleteToolSource(huge, 'http', 'a');
  const grant = { tenantId: huge, server: 'a', slot: 'grant' as const, version: 'v', sealed: 's', heldUntil: null, updatedAt: 1 };
  await store.swapMcpGrant(grant, null);
  await store.swapMcpGrant({ ...grant, version: 'w' }, 'v');
  await store.getMcpGrant(huge, 'a', 'grant');
  await store.deleteMcpGrant(huge, 'a', 'grant', 'w');
  await store.deleteMcpGrant(huge, 'a', 'grant');
  const held = { callKey: 'k', delivery: 1 };
  const worker = { tenantId: huge, workerId: 'w', pool: 'p' };
  await store.offerToolCall({
    ...{ ...held, tenantId: huge, pool: 'p', status: 'queued', request: {}, answer: null, holder: null, delivery: 0, leaseUntil: null },
    ...{ cancelled: false, createdAt: 1, expiresAt: 1 },
  });
  await store.queuedToolPools([worker]);
  await store.takeToolCalls(worker, { limit: 5, nowMs: 1, leaseMs: 1 });
  await store.renewToolCalls(worker, [held], 2);
  await store.heldToolCalls(huge, 'w');
  await store.toolCallStates(huge, ['k']);
  await store.returnToolCall(worker, held);
  await store.requeueToolCall(huge, held, 3);
  await store.cancelToolCall(huge, 'k', null);
  await store.withdrawToolCall(huge, 'k', null);
  await store.endToolCall(worker, held, null);
  await store.endLostToolCall(huge, held, 3, null);
  await store.reopenToolCall(huge, held, { nowMs: 1, expiresAt: 2 });
  await store.pruneToolCalls(2, 5);
  await store.putToolWorker({ ...worker, nodeId: 'n', about: {}, connectedAt: 1, seenAt: 1 });
  await store.touchToolWorkers('n', 2);
  await store.listToolWorkers(huge, 0, 5);
  await store.deleteToolWorker(huge, 'w', 'n');
  await store.pruneToolWorkers(1, 5);
}
