import type { BudgetScope, DecisionRecord, NewEvent, RunId, SessionId, SessionReading, TenantId } from '@nexus-agent/protocol';
import { scopesOf } from '../../packages/server/src/budget/index.ts';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import { emptyTotals } from '../../packages/server/src/runs/journal/index.ts';
import type { Commit, PlaceInLog, RunPatch, RunRow } from '../../packages/server/src/storage/index.ts';
import { approvalRow } from '../conformance/storage-run-work.ts';
import { runRow, sessionRow } from '../support/stores.ts';
import { isEnded, type ModelRun, type StoreModel } from './run-model.ts';
import type { CommitStep } from './steps.ts';

/** What steps are about. Ids are short and say what they are, and the same steps give the same ones. */
export interface Scene {
  readonly tenantId: TenantId;
  readonly model: StoreModel;
  readonly now: () => number;
  /** What the run of this id is shown, as it begins; null where it is to be its session's newest. */
  readonly read: (run: { readonly sessionId: SessionId; readonly runId: RunId }, createdAt: number | null) => Promise<SessionReading>;
  readonly next: (kind: string) => string;
  readonly sessionOf: (at: number) => SessionId;
}

type Of<D extends CommitStep['do']> = Extract<CommitStep, { do: D }>;

export const workers = ['w0', 'w1', 'w2'] as const;
const decision: DecisionRecord = {
  ...{ id: 'dec_1', effect: 'allow', action: 'tool.execute', principal: 'p', resource: 'r', reasons: [], policyVersion: '1' },
};
const usage = { inputTokens: 1, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };
const text = (said: string) => ({ type: 'text' as const, text: said });

/** The commits that a step stands for, as things are; none where it stands for nothing. */
export async function commitsOf(scene: Scene, step: CommitStep): Promise<readonly Commit[]> {
  switch (step.do) {
    case 'start':
      return [await startOf(scene, step)];
    case 'drive':
      return driveOf(scene, step);
    default:
      return [{ tenantId: scene.tenantId, ledger: ledgerOf(scene, step) }];
  }
}

function scopeOf({ model, tenantId }: Scene, kind: string, at: number): BudgetScope {
  const pick = (ids: readonly string[]) => ids[at % Math.max(1, ids.length)] ?? 'none';
  switch (kind) {
    case 'tenant':
      return { kind: 'tenant', id: tenantId };
    case 'user:*':
      return { kind: 'user', id: '*' };
    case 'session':
      return { kind: 'session', id: pick([...model.sessions.keys()]) };
    case 'run':
      return { kind: 'run', id: pick([...model.runs.keys()].filter((id) => id.startsWith('r'))) };
    case 'user':
      return { kind: 'user', id: pick(['u0', 'u1']) };
    default:
      return { kind: kind as 'project' | 'agent', id: kind === 'agent' ? 'helper' : 'p' };
  }
}

/** Who pays for a run: it, those that it works for, its session, and everybody around. */
function scopesOfRun({ model, tenantId }: Scene, { row }: ModelRun): readonly BudgetScope[] {
  const parents: RunId[] = [];
  for (let next = row.parentRunId; next !== null; next = model.runs.get(next)?.row.parentRunId ?? null) parents.push(next);
  const { agent, user, project, sessionId: session, runId: run } = row;
  return scopesOf({ tenantId, agent, user, project, session, run, parentRuns: parents });
}

function ledgerOf(scene: Scene, step: Exclude<CommitStep, Of<'start'> | Of<'drive'>>): LedgerOperation[] {
  const { model, tenantId } = scene;
  const holds = [...model.ledger.holds.values()];
  switch (step.do) {
    case 'limit':
    case 'unlimit': {
      const { unit, window, byOwner } = step;
      const place = { scope: scopeOf(scene, step.scope, step.at), unit, window, ...(byOwner ? { byOwner } : {}) };
      return [step.do === 'limit' ? { type: 'limit', limit: step.limit, ...place } : { type: 'unlimit', ...place }];
    }
    case 'reserve': {
      const runs = [...model.runs.values()].filter((run) => run.row.tenantId === tenantId && !isEnded(run));
      const run = step.at % 2 === 0 ? runs[step.at % Math.max(1, runs.length)] : undefined;
      const user = step.at % 3 === 2 ? null : `u${step.at % 2}`;
      const beside = holds
        .filter(({ runId, state }) => runId === (run?.row.runId ?? null) && state === 'open')
        .map((hold) => hold.reservationId);
      return [
        {
          ...{ type: 'reserve', reservationId: scene.next('h'), runId: run?.row.runId ?? null, expiresAt: scene.now() + 60_000 },
          scopes: run ? scopesOfRun(scene, run) : scopesOf({ tenantId, agent: 'helper', user, project: step.at < 4 ? 'p' : null }),
          fixed: step.calls === 0 ? {} : { toolCalls: step.calls, tokens: step.calls },
          tokens: { min: step.min, max: step.min + step.more, costMicroUsdPerMillion: step.price },
          ...(step.wallMs === null ? {} : { wallMs: { min: Math.ceil(step.wallMs / 2), max: step.wallMs } }),
          ...(step.isBeside && beside.length > 0 ? { beside } : {}),
          ...(step.whole ? { whole: true } : {}),
        },
      ];
    }
    default: {
      // The newest first: what is open is among them.
      const hold = holds.reverse()[step.at % Math.max(1, holds.length)];
      const reservationId = hold?.reservationId ?? 'nothing';
      const isHeir = (other: typeof hold) =>
        other?.reservationId !== reservationId && other?.state === 'open' && other.runId === hold?.runId;
      const heir = holds.find(isHeir)?.reservationId;
      const used = { tokens: step.amount, costMicroUsd: step.amount * 2, toolCalls: step.amount % 3, wallMs: step.amount };
      const given = step.heir && heir !== undefined ? { heir } : {};
      if (step.do === 'settle') return [{ type: 'settle', reservationId, actual: used, ...given }];
      if (step.do === 'release') return [{ type: 'release', reservationId, ...given }];
      if (step.do === 'bound') return [{ type: 'bound', reservationId, atMost: used }];
      return [{ type: 'charge', reservationId, ...(step.heir ? { atMost: used } : {}) }];
    }
  }
}

async function startOf(scene: Scene, step: Of<'start'>): Promise<Commit> {
  const { model, tenantId } = scene;
  const sessionId = scene.sessionOf(step.at);
  const isNew = !model.sessions.has(sessionId);
  const runId = scene.next('r') as RunId;
  const owner = workers[step.worker % 3] ?? 'w0';
  const now = scene.now();
  const reading = await scene.read({ sessionId, runId }, null);
  const here = step.here && (step.whileBusy === 'refuse' || step.whileBusy === 'begin' || isNew);
  const after = here && !isNew ? { after: model.log(sessionId).findLast(({ row }) => row.parentRunId === null)?.row.runId ?? null } : {};
  const whileBusy: PlaceInLog['whileBusy'] = step.whileBusy === 'interrupt' ? { interrupt: `for ${runId}` } : step.whileBusy;
  const row = runRow(tenantId, {
    ...{ runId, sessionId, user: `u${step.at}`, project: 'p', createdAt: now, updatedAt: now },
    ...(here ? { status: 'running', epoch: 1, leaseOwner: owner, dueAt: null } : { status: 'queued', dueAt: now }),
  });
  const created = { ...{ sessionId, agent: 'helper', agentVersion: 'agv_1', principal: 'ada', history: [] }, input: [text(`#${runId}`)] };
  const limit = { type: 'limit', scope: { kind: 'run', id: runId }, unit: 'tokens', window: 'total', fresh: true } as const;
  return {
    tenantId,
    ...(step.keyed ? { idempotency: { key: `key of ${runId}`, requestHash: 'h', resourceId: runId } } : {}),
    ...(isNew
      ? { sessions: [sessionRow(tenantId, { sessionId, createdAt: now })] }
      : { openSession: sessionId, place: { whileBusy, ...after } }),
    createRun: row,
    ...(step.limit === null ? {} : { ledger: [{ ...limit, limit: step.limit }] }),
    events: here
      ? [
          { type: 'run.created', data: { ...created, reading } },
          { type: 'run.started', data: { workerId: owner, epoch: 1 } },
        ]
      : [{ type: 'run.created', data: created }],
  };
}

/** What the journal of a run says that a driver goes by. */
function standOf({ events }: ModelRun) {
  const calls = new Map<string, 'requested' | 'started' | 'asked'>();
  let [answers, status] = [0, 'queued'];
  for (const event of events) {
    if (event.type === 'model.completed') answers += 1;
    if (event.type === 'tool.requested') calls.set(event.data.callId, 'requested');
    if (event.type === 'tool.started') calls.set(event.data.callId, 'started');
    if (event.type === 'approval.requested') calls.set(event.data.callId, 'asked');
    if (event.type === 'tool.completed') calls.delete(event.data.callId);
    if (event.type === 'run.started' || event.type === 'run.resumed') status = 'running';
    if (event.type === 'run.waiting' || event.type === 'run.failed') status = 'resting';
  }
  return { calls: [...calls], answers, status };
}

/** What a worker that holds a run writes next, or one that believes that it does. */
async function driveOf(scene: Scene, { at, what, stale }: Of<'drive'>): Promise<readonly Commit[]> {
  const { model, tenantId } = scene;
  const driven = [...model.runs.values()].filter(({ row }) => row.leaseOwner !== null && row.tenantId === tenantId);
  const run = driven[at % Math.max(1, driven.length)];
  if (run === undefined) return [];
  const { row } = run;
  const { runId, sessionId } = row;
  const owner = row.leaseOwner ?? '';
  const { calls, answers, status } = standOf(run);
  const isFirst = status === 'queued';
  const started = { workerId: owner, epoch: row.epoch };
  const opening: NewEvent[] = isFirst
    ? [{ type: 'run.started', data: { ...started, reading: await scene.read({ sessionId, runId }, row.createdAt) } }]
    : [{ type: 'run.resumed', data: { reason: 'recovered', ...started } }];
  const begin = status === 'running' ? [] : opening;
  const step = answers + 1;
  const write = (events: readonly NewEvent[], patch: RunPatch, more: Partial<Commit> = {}): Commit => ({
    tenantId,
    run: {
      ...{ runId, patch },
      epoch: row.epoch - (stale === 'epoch' ? 1 : 0),
      owner: stale === 'owner' ? 'nobody' : owner,
      lastSeq: row.lastSeq - (stale === 'length' ? 1 : 0),
    },
    events: [...begin, ...events],
    ...more,
  });
  const leaves = { leaves: sessionId };
  const ends = { ...leaves, ...(row.parentRunId === null ? {} : { wake: [row.parentRunId] }) };
  const answer = (
    content: ReturnType<typeof callsOf>[number][] | ReturnType<typeof text>[],
    finishReason: 'stop' | 'tool_calls',
  ): NewEvent[] => [
    { type: 'step.started', data: { step } },
    {
      type: 'model.started',
      data: {
        step,
        callId: `m${step}`,
        attempt: 1,
        purpose: 'answer',
        provider: 'p',
        model: 'm',
        maxTokens: 10,
        reservationId: 'x',
        decision,
      },
    },
    {
      type: 'model.completed',
      data: {
        ...{ step, callId: `m${step}`, attempt: 1, purpose: 'answer', provider: 'p', model: 'm', usage, costMicroUsd: 1, durationMs: 1 },
        ...{ content, finishReason },
      },
    },
  ];
  const open = calls[0];
  switch (what === 'say' && open ? 'result' : (what === 'result' || what === 'ask' || what === 'child') && !open ? 'call' : what) {
    case 'say': {
      const said = `said by ${runId}`;
      const message: NewEvent = {
        type: 'message.completed',
        data: { messageId: 'm', role: 'assistant', text: said, finishReason: 'stop' },
      };
      const over: NewEvent = { type: 'run.completed', data: { totals: emptyTotals, stateHash: '' } };
      return [write([...answer([text(said)], 'stop'), message, over], { status: 'completed', output: said, leaseOwner: null, step }, ends)];
    }
    case 'call': {
      if (open) return [write([], { step: answers })];
      const parts = callsOf(runId, step);
      const requested = parts.map(
        ({ providerCallId: callId, name }, index): NewEvent => ({
          type: 'tool.requested',
          data: { ...{ step, callId, index, name }, input: {} },
        }),
      );
      const pays: LedgerOperation = {
        ...{ type: 'reserve', reservationId: `${runId} pays ${step}`, runId, fixed: { toolCalls: 1 }, expiresAt: scene.now() + 60_000 },
        ...{ scopes: scopesOfRun(scene, run), tokens: { min: 5, max: 30, costMicroUsdPerMillion: 1_000_000 } },
      };
      return [write([...answer(parts, 'tool_calls'), ...requested], { step }, { ledger: [pays] })];
    }
    case 'result': {
      const [callId = '', state = ''] = open ?? [];
      const data = { step: answers, callId, name: 't' };
      const done: NewEvent = { type: 'tool.completed', data: { ...data, status: 'ok', output: `done ${callId}` } };
      const settles: LedgerOperation = {
        type: 'settle',
        reservationId: `${runId} pays ${answers}`,
        actual: { tokens: 7, costMicroUsd: 7, toolCalls: 1 },
      };
      return [write([...(state === 'started' ? [] : [toolStarted(data)]), done], {}, { ledger: [settles] })];
    }
    case 'ask': {
      const approval = { ...approvalRow(row), approvalId: scene.next('a'), createdAt: scene.now() };
      const { approvalId } = approval;
      const asked = {
        approvalId,
        kind: 'tool_call',
        toolName: 't',
        input: {},
        deadlineAt: '2026-03-01T00:00:00.000Z',
        defaultDecision: 'deny',
      } as const;
      const requested: NewEvent = { type: 'approval.requested', data: { step: answers, callId: open?.[0] ?? '', ...asked } };
      const waiting = { reason: 'approval' as const, approvals: [approvalId] };
      const patch: RunPatch = { status: 'waiting', waiting, leaseOwner: null, dueAt: scene.now() + 3_600_000 };
      return [write([requested, { type: 'run.waiting', data: waiting }], patch, { approvals: [approval], ...leaves })];
    }
    case 'child': {
      const childRunId = scene.next('r') as RunId;
      const child: RunRow = runRow(tenantId, {
        ...{ runId: childRunId, sessionId, parentRunId: runId, user: row.user, project: row.project, dueAt: scene.now() },
        ...{ createdAt: scene.now(), updatedAt: scene.now() },
      });
      const waiting = { reason: 'child' as const, childRuns: [childRunId] };
      const called = toolStarted({ step: answers, callId: open?.[0] ?? '', name: 't', childRunId });
      const patch: RunPatch = { status: 'waiting', waiting, leaseOwner: null, dueAt: null };
      return [{ tenantId, createRun: child }, write([called, { type: 'run.waiting', data: waiting }], patch, leaves)];
    }
    case 'hand over':
      return [write([], { status: 'queued', leaseOwner: null, dueAt: scene.now() })];
    case 'cancelled':
      return [
        write(
          [{ type: 'run.cancelled', data: { reason: 'no', totals: emptyTotals, stateHash: '' } }],
          { status: 'cancelled', leaseOwner: null },
          ends,
        ),
      ];
    default: {
      const resumable = what === 'fail';
      const error = { code: 'budget_exceeded', message: 'too dear', retryable: false } as const;
      const failed: NewEvent = { type: 'run.failed', data: { error, resumable, totals: emptyTotals, stateHash: '' } };
      return [write([failed], { status: 'failed', error, resumable, leaseOwner: null }, ends)];
    }
  }
}

function callsOf(runId: string, step: number) {
  return ['x', 'y'].map((name) => ({ type: 'tool_call' as const, providerCallId: `${runId}-${step}${name}`, name: 't', input: {} }));
}

function toolStarted(data: {
  readonly step: number;
  readonly callId: string;
  readonly name: string;
  readonly childRunId?: string;
}): NewEvent {
  return {
    type: 'tool.started',
    data: { ...data, attempt: 1, effects: 'once', input: {}, idempotencyKey: data.callId, timeoutMs: 10, decision },
  };
}
