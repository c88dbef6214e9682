import { type NewEvent, type RunId, type SessionId, TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createIdSource, systemClock } from '#core';
import { ledgerRules } from '#ledger';
import { type Commit, type RunRow, unlimited } from '#storage/contract';
import type { Params, Program, Request, Result } from '#storage/program';
import { type BatchContext, commitBatch } from './batch.ts';

const ids = createIdSource(systemClock);
const tenantId = TenantId.parse('acme');
const context: BatchContext = { ids, ledgerRules, quotas: unlimited, nowMs: 1000, maxCharacters: 1000 };

/** An empty database: nothing is found, and what is inserted is noted. */
function apply<R>(program: Program<R>, counted = true): { result: R; inserted: Record<string, readonly Params[]>; trips: Request[] } {
  const inserted: Record<string, readonly Params[]> = {};
  const trips: Request[] = [];
  const answer = (request: Request): Result => {
    if (request.type === 'all') return { rows: [], changes: 0, parts: request.requests.map(answer) };
    // Of a tenant that has been counted before.
    if (request.type === 'select' && request.table.name === 'tenant_counts' && (counted || inserted.tenant_counts !== undefined))
      return { rows: request.keys.map((kind) => ({ kind, amount: 0 })), changes: 0 };
    if (request.type === 'insert') inserted[request.table.name] = request.rows;
    return { rows: request.type === 'now' ? [{ now: 1 }] : [], changes: 0 };
  };
  let step = program.next({ rows: [], changes: 0 });
  while (!step.done) {
    trips.push(step.value);
    step = program.next(answer(step.value));
  }
  return { result: step.value, inserted, trips };
}

function newRun(): RunRow {
  return {
    tenantId,
    runId: ids.next<RunId>('run'),
    sessionId: ids.next<SessionId>('session'),
    agent: 'helper',
    agentVersion: 'agv_1',
    model: null,
    parentRunId: null,
    status: 'running',
    waiting: null,
    step: 0,
    lastSeq: 0,
    totals: { inputTokens: 0, outputTokens: 0, costMicroUsd: 0, modelCalls: 0, toolCalls: 0 },
    output: null,
    error: null,
    resumable: false,
    epoch: 1,
    leaseOwner: 'w',
    dueAt: null,
    cancelRequested: null,
    budget: null,
    traceId: null,
    user: null,
    project: null,
    createdAt: 1,
    updatedAt: 1,
  };
}

const said = (length: number): NewEvent => ({
  type: 'message.completed',
  data: { messageId: 'm', role: 'assistant', text: 'x'.repeat(length), finishReason: 'stop' },
});

it('takes no further commit once it holds the characters that a transaction may, also of events that are made inside it', () => {
  let made = 0;
  const commit = (length: number): Commit => ({
    tenantId,
    createRun: newRun(),
    events: () => {
      made += 1;
      return [said(length)];
    },
  });
  const commits = [commit(400), commit(400), commit(400), commit(1), commit(1)];
  const { result, inserted } = apply(commitBatch(context, commits));
  expect(result?.map(({ type }) => type)).toEqual(['committed', 'committed', 'committed']);
  expect(made).toBe(3);
  expect(inserted.run_events).toHaveLength(3);
  expect(inserted.runs).toHaveLength(3);
  expect(apply(commitBatch(context, [commit(5000), commit(1)])).result).toHaveLength(1);
});

it('reads once, and once more for balances, and writes with one last request', () => {
  const run = newRun();
  const scope = { kind: 'run', id: run.runId } as const;
  const commit: Commit = {
    tenantId,
    idempotency: { key: 'k', requestHash: 'h', resourceId: run.runId },
    createRun: run,
    events: [said(1)],
    ledger: [
      { type: 'limit', scope, unit: 'tokens', window: 'total', limit: 5, fresh: true },
      { type: 'reserve', reservationId: 'r', runId: run.runId, scopes: [scope], fixed: { tokens: 1 }, expiresAt: 1 },
    ],
  };
  const { trips } = apply(commitBatch(context, [commit]));
  const tables = (request: Request | undefined) =>
    request?.type === 'all' ? request.requests.map((each) => ('table' in each ? each.table.name : each.type)) : request?.type;
  expect(trips.map(tables)).toEqual([
    ['gate', 'idempotency_keys', 'tenant_counts', 'runs', 'reservations'],
    'select',
    ['idempotency_keys', 'tenant_counts', 'runs', 'reservations', 'budgets', 'run_events'],
  ]);
  expect(trips.at(-1)).toMatchObject({ last: true });
});

it('tells a commit what its neighbour in the same transaction has made', () => {
  const claim = (requestHash: string, resourceId: string) => ({ tenantId, idempotency: { key: 'k', requestHash, resourceId } });
  const run = newRun();
  const commits = [
    claim('h', 'first'),
    claim('h', 'second'),
    claim('other', 'third'),
    { tenantId, createRun: run },
    { tenantId, createRun: run },
  ];
  const { result, inserted } = apply(commitBatch(context, commits));
  expect(result).toMatchObject([
    { type: 'committed' },
    { type: 'duplicate', resourceId: 'first', sameRequest: true },
    { type: 'duplicate', resourceId: 'first', sameRequest: false },
    { type: 'committed' },
    { type: 'duplicate', resourceId: run.runId, sameRequest: true },
  ]);
  expect(inserted.idempotency_keys).toHaveLength(1);
  expect(inserted.runs).toHaveLength(1);
});

it('makes what a tenant is counted by before it takes other locks, and never behind them', () => {
  const commit: Commit = {
    tenantId,
    createRun: { ...newRun(), status: 'queued' },
    idempotency: { key: 'k', requestHash: 'h', resourceId: 'r' },
  };
  const first = apply(commitBatch(context, [commit]), false);
  expect(first.result).toBeNull();
  expect(first.inserted).toEqual({});
  const alone = apply(commitBatch({ ...context, alone: true }, [commit]), false);
  expect(alone.result).toMatchObject([{ type: 'committed' }]);
  expect(alone.inserted.tenant_counts?.map(({ kind }) => kind)).toEqual(['idempotencyKeys', 'queuedRuns']);
});
