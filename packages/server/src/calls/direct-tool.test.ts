import { afterEach, expect, it } from 'vitest';
import { openTestRuns, principal, type TestRuns } from '#runs/testing';
import type { Tool } from '#tools';
import { makeTool } from '#tools/testing';
import type { ChargeContext } from './charge.ts';
import { callToolDirectly } from './direct-tool.ts';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const { tenantId } = principal;
const charge: Omit<ChargeContext, 'sessionId' | 'scopes'> = {
  tenantId,
  runId: null,
  agent: 'helper',
  origin: 'operator',
  agentVersion: 'agv_1',
  onBehalfOf: principal.id,
  agentPolicy: { allow: ['probe'] },
  sessionPolicy: null,
  deadlineAt: null,
};

/** A session that may make two calls of the tool. */
async function open(execute: (opened: TestRuns) => ReturnType<Tool['execute']>) {
  const tool = makeTool({ effects: 'once', maxCostMicroUsd: 40, execute: () => execute(opened) });
  const opened = await openTestRuns({ tools: [tool] });
  runs = opened;
  const { engine } = opened;
  const { store } = engine;
  const { id: sessionId } = (await opened.orchestrator.sessions.create(principal, {}, {})).session;
  const session = { kind: 'session', id: sessionId } as const;
  const charged = { ...charge, sessionId, scopes: [session] };
  await store.commit({ tenantId, ledger: [{ type: 'limit', scope: session, unit: 'toolCalls', window: 'total', limit: 2 }] });
  return {
    call: (signal = new AbortController().signal) =>
      callToolDirectly(engine, charged, { name: 'probe', input: {}, offered: { tools: ['*'] } }, signal),
    close: () => store.closeSession(tenantId, sessionId),
    async books() {
      const { items } = await store.listBudgets(tenantId, { scopes: [session] }, 0, { limit: 10 });
      const calls = items.find(({ unit }) => unit === 'toolCalls');
      return { spent: calls?.spent, reserved: calls?.reserved };
    },
  };
}

it('takes effect only once it is decided and reserved, and is settled afterwards', async () => {
  const seen: unknown[] = [];
  const { call, books } = await open(async ({ engine: { store } }) => {
    const { items } = await store.listDecisions(tenantId, {}, { limit: 10 });
    const open = await store.listReservations(tenantId, { state: 'open' });
    seen.push({
      decided: items.map(({ action, effect }) => `${action} ${effect}`),
      reserved: open.map(({ amounts }) => amounts.toolCalls),
    });
    return { type: 'ok', output: 'done', costMicroUsd: 7 };
  });
  expect(await call()).toMatchObject({ status: 'ok', output: 'done' });
  expect(seen).toEqual([{ decided: ['tool.execute allow'], reserved: [1] }]);
  expect(await books()).toEqual({ spent: 1, reserved: 0 });
});

it('is settled also when the tool fails or its caller leaves, and refused once nothing is left', async () => {
  const leaving = new AbortController();
  let calls = 0;
  const { call, books } = await open(async () => {
    calls += 1;
    if (calls === 2) leaving.abort();
    return { type: 'error', error: { code: 'tool_failed', message: 'no', retryable: false } };
  });
  expect(await call()).toMatchObject({ status: 'error', error: { code: 'tool_failed' } });
  expect(await books()).toEqual({ spent: 1, reserved: 0 });
  expect(await call(leaving.signal)).toMatchObject({ status: 'error' });
  expect(await books()).toEqual({ spent: 2, reserved: 0 });
  await expect(call()).rejects.toMatchObject({ code: 'budget_exceeded' });
  expect(calls).toBe(2);
});

it('is not begun in a session that was closed since it was looked up, and deleted with its limits', async () => {
  let calls = 0;
  const { call, close, books } = await open(async () => {
    calls += 1;
    return { type: 'ok', output: 'done' };
  });
  await close();
  await expect(call()).rejects.toMatchObject({ code: 'conflict' });
  expect([calls, await books()]).toEqual([0, { spent: 0, reserved: 0 }]);
});
