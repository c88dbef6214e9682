import { noUsage, type RunId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const { tenantId } = principal;

/** A run with somebody else who sweeps its reservations while it works. */
async function open(options: TestRunsOptions) {
  const opened = await openTestRuns(options);
  runs = opened;
  const { store } = opened.engine;
  const sweep = async () => {
    const open = await store.listReservations(tenantId, { state: 'open' });
    await store.commit({ tenantId, ledger: open.map(({ reservationId }) => ({ type: 'charge', reservationId })) });
  };
  const ended = async (runId: RunId) => {
    await opened.until(async () => ['completed', 'failed', 'cancelled'].includes((await opened.row(runId)).status));
    return figuresOf(opened, runId);
  };
  return { ...opened, sweep, ended };
}

/** The same figures from everywhere that they can be read. */
async function figuresOf({ engine, orchestrator, row }: TestRuns, runId: RunId) {
  const { items } = await engine.store.listLedgerEntries(tenantId, { runId }, { limit: 100 });
  const booked = { tokens: 0, costMicroUsd: 0, toolCalls: 0 };
  for (const { amounts } of items) for (const unit of ['tokens', 'costMicroUsd', 'toolCalls'] as const) booked[unit] += amounts[unit] ?? 0;
  const { events } = await orchestrator.runs.events(principal, runId, { after: 0, limit: 1_000 });
  const journal = events.map((text) => JSON.parse(text) as { type: string; data: { totals?: object; outcome?: string } });
  const stored = await row(runId);
  const { totals } = stored;
  const view = await orchestrator.runs.get(principal, runId);
  expect(view.totals).toEqual(totals);
  expect(journal.at(-1)?.data.totals).toEqual(totals);
  const { inputTokens, outputTokens, costMicroUsd, toolCalls } = totals;
  expect({ tokens: inputTokens + outputTokens, costMicroUsd, toolCalls }).toEqual(booked);
  const reserved = journal.filter(({ type }) => type === 'budget.reserved').length;
  const outcomes = journal.flatMap(({ type, data }) => (type === 'budget.settled' ? [data.outcome] : []));
  expect(outcomes).toHaveLength(reserved);
  return { status: stored.status, outcomes, booked };
}

it('are those of the ledger when the sweeper closes a reservation before its answer [verifies budget.totals.ledger]', async () => {
  const opened = await open({
    async *attempt() {
      await opened.sweep();
      yield completed('done');
    },
  });
  expect(await opened.ended(await opened.start({}))).toMatchObject({ status: 'completed', outcomes: ['settled'], booked: { tokens: 15 } });
});

it('are those of the ledger when an attempt fails, or never leaves, after it was swept', async () => {
  let tries = 0;
  const opened = await open({
    async *attempt() {
      tries += 1;
      await opened.sweep();
      const error = { code: 'provider_unavailable', message: 'down', retryable: true } as const;
      if (tries > 2) yield completed('done');
      else yield { type: 'failed', error, retryAfterMs: null, usage: { ...noUsage, outputTokens: 7 }, sent: tries === 1 };
    },
  });
  expect(await opened.ended(await opened.start({}))).toMatchObject({
    outcomes: ['settled', 'released', 'settled'],
    booked: { tokens: 22 },
  });
});

it('have an attempt that failed before the budget refused the next one', async () => {
  const opened = await open({
    async *attempt() {
      const error = { code: 'provider_unavailable', message: 'down', retryable: true } as const;
      yield { type: 'failed', error, retryAfterMs: null, usage: { ...noUsage, inputTokens: 400, outputTokens: 580 }, sent: true };
    },
  });
  expect(await opened.ended(await opened.start({ budget: { tokens: 1_000 } }))).toMatchObject({
    status: 'failed',
    outcomes: ['settled'],
    booked: { tokens: 980 },
  });
});

it('have what the sweeper charged for a tool that never comes back, and its event', async () => {
  let entered = false;
  const stuck = Promise.withResolvers<void>();
  const opened = await open({
    settings: { stopGraceMs: 50 },
    tools: [
      makeTool({
        maxCostMicroUsd: 40,
        async execute() {
          entered = true;
          await stuck.promise;
          return { type: 'ok', output: '' };
        },
      }),
    ],
    async *attempt() {
      yield completed({ name: 'probe' });
    },
  });
  const runId = await opened.start({});
  await opened.until(() => entered);
  await opened.sweep();
  await opened.orchestrator.runs.cancel(principal, runId, 'enough');
  expect(await opened.ended(runId)).toMatchObject({
    status: 'cancelled',
    outcomes: ['settled', 'charged_maximum'],
    booked: { costMicroUsd: 55, toolCalls: 1 },
  });
  stuck.resolve();
});

it('have the tokens of a model that does not stop when it is told to', async () => {
  let entered = false;
  const opened = await open({
    settings: { stopGraceMs: 50 },
    async *attempt() {
      entered = true;
      await new Promise(() => undefined);
    },
  });
  const runId = await opened.start({ budget: { tokens: 2_000 } });
  await opened.until(() => entered);
  await opened.orchestrator.runs.cancel(principal, runId, 'enough');
  expect(await opened.ended(runId)).toMatchObject({ status: 'cancelled', outcomes: ['charged_maximum'], booked: { tokens: 2_000 } });
});

it('have no call of a tool that was never called', async () => {
  let asked = 0;
  const opened = await open({
    tools: [makeTool({ permissions: ['fs.read'], maxCostMicroUsd: 40 })],
    async *attempt() {
      asked += 1;
      yield asked === 1 ? completed({ name: 'probe' }) : completed('done');
    },
  });
  opened.engine.tools.execute = async function* () {
    yield { type: 'failed', began: false, error: { code: 'tool_failed', message: 'no disk', retryable: false }, durationMs: 1 };
  };
  expect(await opened.ended(await opened.start({}))).toMatchObject({
    outcomes: ['settled', 'released', 'settled'],
    booked: { toolCalls: 0 },
  });
});

it('of a fork are of what it does itself', async () => {
  let asked = 0;
  const opened = await open({
    tools: [makeTool()],
    async *attempt() {
      asked += 1;
      yield asked === 1 ? completed({ name: 'probe' }) : completed('done');
    },
  });
  const runId = await opened.start({});
  await opened.ended(runId);
  const { run: fork } = await opened.orchestrator.runs.fork(principal, runId, {}, {});
  expect(await opened.ended(fork.id as RunId)).toMatchObject({ status: 'completed', booked: { tokens: 15, toolCalls: 0 } });
});
