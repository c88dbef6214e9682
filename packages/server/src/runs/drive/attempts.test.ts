import { noUsage, type RunId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import type { ModelPart } from '#llm';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());
async function open(options: TestRunsOptions = {}): Promise<TestRuns> {
  runs = await openTestRuns(options);
  return runs;
}

const down = (sent: boolean, outputTokens = 0): ModelPart => ({
  type: 'failed',
  error: { code: 'provider_unavailable', message: 'down', retryable: true },
  retryAfterMs: null,
  usage: { ...noUsage, outputTokens },
  sent,
});
const ofType = async ({ orchestrator }: TestRuns, runId: RunId, type: string) => {
  const { events } = await orchestrator.runs.events(principal, runId, { after: 0, limit: 1_000 });
  return events.map((text) => JSON.parse(text) as { type: string; data: Record<string, unknown> }).filter((event) => event.type === type);
};

it('is begun only once it is in the journal', async () => {
  const announced: number[] = [];
  const opened = await open({
    async *attempt() {
      const { items } = await opened.engine.store.listRuns(principal.tenantId, {}, { limit: 1 });
      const types = await opened.types(items[0]?.runId as RunId); // there is one
      announced.push(types.filter((type) => type === 'model.started').length);
      yield announced.length < 3 ? down(true) : completed('done');
    },
  });
  const runId = await opened.start({});
  await opened.until(async () => (await opened.row(runId)).status === 'completed');
  expect(announced).toEqual([1, 2, 3]);
});

it('is held to what the budget granted to it, after one before it was settled', async () => {
  const asked: number[] = [];
  const opened = await open({
    async *attempt({ maxOutputTokens }) {
      asked.push(maxOutputTokens);
      yield asked.length === 1 ? down(true, 100) : completed('done');
    },
  });
  const runId = await opened.start({ budget: { tokens: 1_000 } });
  await opened.until(async () => (await opened.row(runId)).status === 'completed');
  const granted = (await ofType(opened, runId, 'model.started')).map(({ data }) => data.maxTokens);
  expect(asked).toEqual(granted);
  expect(asked[1]).toBe((asked[0] ?? 0) - 100);
});

it('is paid for when it was sent, and costs nothing when it was not', async () => {
  let tries = 0;
  const opened = await open({
    async *attempt() {
      tries += 1;
      yield tries === 1 ? down(true, 7) : tries === 2 ? down(false) : completed('done');
    },
  });
  const runId = await opened.start({});
  await opened.until(async () => (await opened.row(runId)).status === 'completed');
  const settled = (await ofType(opened, runId, 'budget.settled')).map(({ data }) => data);
  expect(settled).toMatchObject([
    { outcome: 'settled', amounts: { tokens: 7, costMicroUsd: 7 } },
    { outcome: 'released' },
    { outcome: 'settled', amounts: { tokens: 15, costMicroUsd: 15 } },
  ]);
});

it('holds nothing of what failed while it stands in line behind those that wait for it [verifies budget.admission.waits]', async () => {
  let tries = 0;
  const opened = await open({
    budget: { waitForReservedMs: 10_000 },
    async *attempt() {
      tries += 1;
      if (tries === 1) await opened.time.timers.sleep(7_000); // the other has become impatient by then
      yield tries === 1 ? down(false) : completed('done');
    },
  });
  const { engine, start, until, row, time } = opened;
  const { tenantId } = principal;
  const scope = { kind: 'user', id: 'ann' } as const;
  await engine.store.commit({ tenantId, ledger: [{ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 2_000 }] });
  const first = start({ user: 'ann' });
  await until(() => tries === 1);
  const second = start({ user: 'ann' });
  const begun = time.clock.now();
  await until(
    async () => (await engine.store.listRuns(tenantId, {}, { limit: 9 })).items.filter(({ status }) => status === 'completed').length === 2,
  );
  expect(time.clock.now() - begun).toBeLessThan(9_000);
  for (const runId of [await first, await second]) expect((await row(runId)).status).toBe('completed');
});

it('is not made while the run is given back, and what failed before is written', async () => {
  let tries = 0;
  const opened = await open({
    async *attempt() {
      tries += 1;
      yield down(true, 7);
    },
  });
  const { drain, until, row, types, start, engine } = opened;
  const runId = await start({});
  await until(() => tries === 1);
  await drain(60_000);
  expect(tries).toBe(1);
  expect((await types(runId)).slice(-2)).toEqual(['model.failed', 'budget.settled']);
  expect(await row(runId)).toMatchObject({ status: 'queued', totals: { outputTokens: 7 } });
  expect(await engine.store.listReservations(principal.tenantId, { state: 'open' })).toEqual([]);
});
