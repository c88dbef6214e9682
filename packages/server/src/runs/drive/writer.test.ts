import type { RunId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { NexusError, systemClock, systemTimers } from '#core';
import { createTranscripts, loadState } from '#runs/journal';
import { startRun } from '#runs/start';
import { type Proposal, propose, settle } from '#runs/steps';
import type { LocalChannel } from '#runs/stream';
import { openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';
import { silentLogger } from '#telemetry/testing';
import { createOwnership, type RunLease } from './ownership.ts';
import { createPatience, type Patience } from './patience.ts';
import type { RunSpans } from './spans.ts';
import { RunWriter } from './writer.ts';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const unbroken: RunLease = { stands: () => true, stoodSince: () => true, beat: async () => undefined };

/** A run that has begun, and who writes it; its first model call is reserved and announced. */
async function begin(options: TestRunsOptions = {}, patience: Patience = (work) => work(), lease: RunLease = unbroken) {
  runs = await openTestRuns(options);
  const { engine, agents } = runs;
  const dependencies = { engine, agents, transcripts: createTranscripts(engine.store, 1_000), defaultAgent: 'helper' };
  const started = await startRun(dependencies, principal, { input: 'go' }, { here: true });
  if (started.type !== 'owned') throw new Error(`the run is ${started.type}`);
  const { fence, state, opening } = started.adopt;
  if (opening.type !== 'begun') throw new Error('a new run has begun');
  const told: number[] = [];
  const ownership = createOwnership({ store: engine.store, clock: engine.clock, fence, lease, patience });
  const parts = {
    engine,
    fence,
    ownership,
    channel: { appended: (events) => void told.push(...events.map(({ seq }) => seq)) } as Partial<LocalChannel> as LocalChannel, // told nothing else
    spans: { wrote: () => undefined } as Partial<RunSpans> as RunSpans, // asked for nothing else
    patience,
  };
  const writer = new RunWriter(parts, state);
  return { ...runs, writer, told, attempt: opening.attempt, runId: started.row.runId };
}

const step: Proposal = propose({ events: [{ type: 'step.started', data: { step: 2 } }] });
const beyond = (runId: RunId, reservationId: string): Proposal =>
  propose({
    ...step,
    ledger: [{ type: 'reserve', reservationId, runId, scopes: [{ kind: 'run', id: runId }], fixed: { tokens: 1_000 }, expiresAt: 1 }],
  });

it('moves the state on with what is written, and tells the followers', async () => {
  const { writer, told, engine, runId } = await begin();
  const { lastSeq } = writer.state;
  expect(await writer.commit(step)).toMatchObject({ type: 'committed' });
  expect(writer.state.lastSeq).toBe(lastSeq + 1);
  expect(writer.state).toEqual(await loadState(engine.store, principal.tenantId, runId));
  expect(told).toEqual([lastSeq + 1]);
});

it('leaves the state as it was when a budget refuses or the store does not answer, and can go on', async () => {
  let away = false;
  const { writer, told, runId, engine } = await begin({
    wrap: (store) => ({
      commit: (commit) => (away ? Promise.reject(new NexusError('storage_unavailable', 'the store is away')) : store.commit(commit)),
    }),
  });
  const scope = { kind: 'run', id: runId } as const;
  await engine.store.commit({
    tenantId: principal.tenantId,
    ledger: [{ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 10 }],
  });
  const before = writer.state;
  const refused = writer.commit(beyond(runId, 'res_1'));
  expect(writer.state).toBe(before);
  expect(await refused).toMatchObject({ type: 'refused' });
  expect(writer.state).toBe(before);
  away = true;
  await expect(writer.commit(step)).rejects.toMatchObject({ code: 'storage_unavailable' });
  expect(writer.state).toBe(before);
  expect(told).toEqual([]);
  away = false;
  expect(await writer.commit(step)).toMatchObject({ type: 'committed' });
  expect(told).toEqual([before.lastSeq + 1]);
});

describe('a change whose answer came so late that the run may be another worker’s', () => {
  /** A lease that had a gap while a change was written, and what happened in it. */
  function gapped() {
    let isWhole = true;
    let beats = 0;
    const lease: RunLease = {
      stands: () => true,
      stoodSince: () => isWhole,
      async beat() {
        beats += 1;
        isWhole = true;
      },
    };
    let inGap: (() => Promise<unknown>) | null = null;
    const wrap: TestRunsOptions['wrap'] = (store) => ({
      async commit(commit) {
        const result = await store.commit(commit);
        const happens = inGap;
        inGap = null;
        if (happens === null) return result;
        await happens();
        isWhole = false;
        return result;
      },
    });
    const during = (happens: () => Promise<unknown>) => {
      inGap = happens;
    };
    return { lease, wrap, beats: () => beats, during };
  }

  it('counts when it is still this one’s, which is looked up', async () => {
    const gap = gapped();
    const { writer, told } = await begin({ wrap: gap.wrap }, undefined, gap.lease);
    const { lastSeq } = writer.state;
    gap.during(async () => undefined);
    expect(await writer.commit(step)).toMatchObject({ type: 'committed' });
    expect(told).toEqual([lastSeq + 1]);
    expect(gap.beats()).toBe(1);
    expect(await writer.commit(step)).toMatchObject({ type: 'committed' });
    expect(gap.beats()).toBe(1);
  });

  it('lets nothing begin, and tells nobody, when another one has taken it over', async () => {
    const gap = gapped();
    const { writer, told, engine, runId } = await begin({ wrap: gap.wrap }, undefined, gap.lease);
    const before = writer.state;
    gap.during(async () => {
      await engine.store.heartbeat(engine.workerId, 0, 0);
      await engine.store.heartbeat('wrk_other', 60_000, 0);
      await expect.poll(async () => (await engine.store.claimRuns('wrk_other', 1, 0)).map((row) => row.runId)).toEqual([runId]);
    });
    expect(await writer.commit(step)).toMatchObject({ type: 'fenced' });
    expect(writer.state).toBe(before);
    expect(told).toEqual([]);
  });

  it('is not asked for twice when it gives the run up', async () => {
    const gap = gapped();
    const { writer } = await begin({ wrap: gap.wrap }, undefined, gap.lease);
    gap.during(async () => undefined);
    const leaves = propose({ ...step, patch: { status: 'queued', leaseOwner: null, dueAt: 0 } });
    expect(await writer.commit(leaves)).toMatchObject({ type: 'committed' });
    expect(gap.beats()).toBe(0);
  });

  it('is no longer this one’s business when it stands still again and again', async () => {
    const gap = gapped();
    const { writer } = await begin({ wrap: gap.wrap }, undefined, { ...gap.lease, stoodSince: () => false });
    expect(await writer.commit(step)).toMatchObject({ type: 'fenced' });
    expect(gap.beats()).toBe(3);
  });
});

it('has no state of its own before the store has answered', async () => {
  const { writer } = await begin();
  const before = writer.state;
  const written = writer.commit(step);
  expect(writer.state).toBe(before);
  await written;
  expect(writer.state.lastSeq).toBe(before.lastSeq + 1);
});

it('writes with each change the totals that the journal has after it', async () => {
  const { writer, attempt, row, runId } = await begin();
  const { call, target, attempt: number, reserve } = attempt;
  const named = { step: call.step, callId: call.callId, attempt: number, provider: target.provider, model: target.model };
  const usage = { inputTokens: 9, outputTokens: 4, cacheReadTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };
  const error = { code: 'provider_unavailable' as const, message: 'down', retryable: true };
  const failed = propose({
    ...settle(reserve.reservationId, { tokens: 13, costMicroUsd: 13 }),
    events: [{ type: 'model.failed', data: { ...named, error, usage } }],
  });
  await writer.commit(failed);
  expect(writer.state.totals).toMatchObject({ inputTokens: 9, outputTokens: 4 });
  expect((await row(runId)).totals).toEqual(writer.state.totals);
});

const unavailable = () => new NexusError('storage_unavailable', 'the store is away');
/** Asks again for as long as the test says. */
const untiring = (mayGoOn: () => boolean = () => true) =>
  createPatience({ clock: systemClock, timers: { sleep: () => systemTimers.soon() }, logger: silentLogger, runId: 'run_1', mayGoOn });

it('writes once what the store had written without being heard, and goes on from there', async () => {
  let unheard = 0;
  const { writer, told, engine, runId } = await begin(
    {
      wrap: (store) => ({
        async commit(commit) {
          const result = await store.commit(commit);
          if (commit.run !== undefined && unheard > 0) {
            unheard -= 1;
            throw unavailable();
          }
          return result;
        },
      }),
    },
    untiring(),
  );
  const { lastSeq } = writer.state;
  unheard = 1;
  const reserved = propose({
    ledger: [{ type: 'reserve', reservationId: 'res_1', runId, scopes: [{ kind: 'run', id: runId }], fixed: { tokens: 7 }, expiresAt: 1 }],
    events: ([outcome]) => [{ type: 'step.started', data: { step: outcome?.type === 'reserved' ? (outcome.amounts.tokens ?? 0) : 0 } }],
  });
  const result = await writer.commit(reserved);
  expect(result).toMatchObject({ type: 'committed', outcomes: [{ type: 'reserved', amounts: { tokens: 7 } }] });
  expect(told).toEqual([lastSeq + 1]);
  expect(writer.state).toEqual(await loadState(engine.store, principal.tenantId, runId));
  expect(await writer.commit(step)).toMatchObject({ type: 'committed' });
  expect(told).toEqual([lastSeq + 1, lastSeq + 2]);
});

it('is told that the run is lost when another took it over while the store was away, whether or not the change was written', async () => {
  for (const isWritten of [false, true]) {
    let away = false;
    const { writer, engine, row, runId } = await begin(
      {
        wrap: (store) => ({
          async commit(commit) {
            if (!away || commit.run === undefined) return store.commit(commit);
            away = false;
            if (isWritten) await store.commit(commit);
            const { lastSeq, epoch } = await row(runId);
            const owner = 'worker_1';
            const patch = { status: 'queued', leaseOwner: null, dueAt: 1 } as const;
            await store.commit({ tenantId: principal.tenantId, run: { runId, epoch, owner, lastSeq, patch } });
            expect(await store.claimRuns('worker_2', 1)).toHaveLength(1);
            throw unavailable();
          },
        }),
      },
      untiring(),
    );
    away = true;
    expect(await writer.commit(step)).toEqual({ type: 'fenced' });
    expect((await row(runId)).leaseOwner).toBe('worker_2');
    await engine.store.retireWorker('worker_2');
    await runs?.close();
  }
});

it('asks no more once its process may not go on, and never for what cannot be written', async () => {
  let asked = 0;
  let error = unavailable();
  let tries = 3;
  const { writer } = await begin(
    {
      wrap: (store) => ({
        async commit(commit) {
          if (commit.run === undefined) return store.commit(commit);
          asked += 1;
          throw error;
        },
      }),
    },
    untiring(() => tries-- > 0),
  );
  await expect(writer.commit(step)).rejects.toMatchObject({ code: 'storage_unavailable' });
  expect(asked).toBe(4);
  tries = 100;
  error = new NexusError('internal', 'this cannot be written');
  await expect(writer.commit(step)).rejects.toMatchObject({ code: 'internal' });
  expect(asked).toBe(5);
});
