import { describe, expect, it } from 'vitest';
import { createAdmission } from '#budget';
import { createSchemaValidator, NexusError, systemClock, systemTimers } from '#core';
import type { Tool, ToolCallEnd, ToolPart } from '#tools';
import { createTestToolService, makeTool } from '../tools/testing/index.ts';
import type { ChargeContext } from './charge.ts';
import { callToolDirectly } from './direct-tool.ts';
import type { CallEngine } from './engine.ts';
import { performTool, toolAmounts } from './tool-call.ts';

const charge = {
  tenantId: 'ten_1',
  sessionId: 'ses_1',
  runId: 'run_1',
  agent: 'a',
  onBehalfOf: 'p',
  agentPolicy: null,
  sessionPolicy: null,
};

/** An engine that permits what policies are asked and whose store does what it is told. */
function engineOf(tools: CallEngine['tools'], commit: () => Promise<unknown>): CallEngine {
  const silent = () => undefined;
  const parts = {
    tools,
    schemas: createSchemaValidator(),
    policy: { decide: () => ({ effect: 'allow', reasons: [] }) },
    ids: { next: () => 'id_1' },
    metrics: { policyDecision: silent },
    clock: { now: () => 0 },
    logger: { error: silent, warn: silent, info: silent },
    store: { commit },
    timers: systemTimers,
    admission: createAdmission({ clock: systemClock, timers: systemTimers, settings: { waitForReservedMs: 0, pollReservedMs: 1_000 } }),
  };
  return parts as unknown as CallEngine; // what performTool touches
}

async function perform(tools: CallEngine['tools'], commit: () => Promise<unknown>, about: object = {}): Promise<ToolCallEnd> {
  const [tool] = await tools.list('ten_1');
  if (tool === undefined) throw new Error('there is no tool');
  const call = { tool, input: {}, callId: 'call_1', attempt: 1, idempotencyKey: 'call_1', timeoutMs: 5_000, ...about };
  const hooks = { signal: new AbortController().signal, onOutput: () => undefined };
  return performTool(engineOf(tools, commit), charge as unknown as ChargeContext, call, hooks); // scopes are not read here
}

const asking = (...resources: string[]) =>
  createTestToolService([
    makeTool({
      async execute(_input, { authorize }) {
        const verdicts = await Promise.all(resources.map((resource) => authorize({ action: 'net.egress', resource })));
        return { type: 'ok', output: verdicts.map((verdict) => (verdict.allowed ? 'allowed' : verdict.error.code)) };
      },
    }),
  ]);

it('allows what policy allows only once the decision is written', async () => {
  const written: string[] = [];
  const end = await perform(asking('a', 'b'), async () => {
    await new Promise((resolve) => setImmediate(resolve));
    written.push('written');
  });
  expect(end).toMatchObject({ type: 'completed', output: '["allowed","allowed"]' });
  expect(written).toHaveLength(2);
});

it('refuses what it cannot record', async () => {
  const unavailable = () => Promise.reject(new NexusError('storage_unavailable', 'the database is away'));
  expect(await perform(asking('a'), unavailable)).toMatchObject({ output: '["storage_unavailable"]' });
  expect(await perform(asking('a'), () => Promise.reject(new Error('socket')))).toMatchObject({ output: '["internal"]' });
});

it('decides on what a tool asks at once without making one wait for the other', async () => {
  let waiting = 0;
  let open: () => void = () => undefined;
  const both = new Promise<void>((resolve) => {
    open = resolve;
  });
  const end = await perform(asking('a', 'b'), () => {
    waiting += 1;
    if (waiting === 2) open();
    return both;
  });
  expect(end).toMatchObject({ output: '["allowed","allowed"]' });
});

it('rejects when the tool service breaks off without an end', async () => {
  const broken: CallEngine['tools'] = {
    ...asking(),
    async *execute(): AsyncGenerator<ToolPart> {
      yield { type: 'output', text: 'working' };
    },
  };
  await expect(perform(broken, async () => undefined)).rejects.toMatchObject({ code: 'internal' });
});

it('ends with its tool although the store never says that a decision is written', async () => {
  const tools = createTestToolService([
    makeTool({
      async execute(_input, { authorize }) {
        void authorize({ action: 'net.egress', resource: 'a' });
        return { type: 'ok', output: 'went on' };
      },
    }),
  ]);
  expect(await perform(tools, () => new Promise(() => undefined))).toMatchObject({ type: 'completed', output: 'went on' });
});

it('charges what a tool may have cost only when it was called', () => {
  const tool = { ...makeTool({ maxCostMicroUsd: 500 }), version: 'v' };
  const failed = { type: 'failed', error: { code: 'tool_failed', message: 'x', retryable: false }, durationMs: 7 } as const;
  expect(toolAmounts(tool, { ...failed, began: true }, 100)).toEqual({ toolCalls: 1, costMicroUsd: 500, wallMs: 7 });
  expect(toolAmounts(tool, { ...failed, began: false }, 100)).toBeNull();
});

describe('a direct call', () => {
  function direct(tools: CallEngine['tools'], refuse = false) {
    const asked: unknown[] = [];
    const commits: { ledger?: readonly { type: string }[]; decisions?: readonly unknown[] }[] = [];
    const engine = engineOf(tools, async () => undefined);
    const recorded = {
      ...engine,
      settings: { reservationSlackMs: 1_000 },
      policy: {
        decide(request: { context: unknown }) {
          asked.push(request.context);
          return { effect: 'allow', reasons: [] };
        },
      },
      store: {
        async commit(commit: (typeof commits)[number]) {
          commits.push(commit);
          const refusal = { scope: { kind: 'tenant', id: 't' }, unit: 'toolCalls', window: 'total', limit: 0, asked: 1, available: 0 };
          return refuse && commit.ledger !== undefined ? { type: 'refused', refusal } : { type: 'committed', outcomes: [] };
        },
      },
    };
    const charged = { ...charge, scopes: [], deadlineAt: null } as unknown as ChargeContext; // ids of tests
    const call = () =>
      callToolDirectly(
        recorded as unknown as CallEngine,
        charged,
        { name: 'probe', input: {}, offered: { tools: ['*'] } },
        new AbortController().signal,
      );
    return { call, asked, commits };
  }

  it('is decided on what a call within a run is decided on: its arguments, its cost, its step', async () => {
    const { call, asked } = direct(createTestToolService([makeTool({ maxCostMicroUsd: 500 })]));
    expect(await call()).toMatchObject({ status: 'ok' });
    expect(asked).toMatchObject([{ arguments: {}, estimatedCostMicroUsd: 500, step: 1 }]);
  });

  it('releases what it reserved when the tool was never called', async () => {
    const tools = createTestToolService([makeTool({ permissions: ['fs.read'], maxCostMicroUsd: 500 })], {
      folders: { open: () => Promise.reject(new Error('the disk is gone')) },
    });
    const { call, commits } = direct(tools);
    expect(await call()).toMatchObject({ status: 'error', error: { code: 'tool_failed' } });
    expect(commits.at(-1)?.ledger).toMatchObject([{ type: 'release' }]);
  });

  it('leaves the record of its decision behind when the budget refuses it', async () => {
    const { call, commits } = direct(createTestToolService([makeTool()]), true);
    await expect(call()).rejects.toMatchObject({ code: 'budget_exceeded' });
    expect(commits.at(-1)).toMatchObject({ decisions: [{ runId: 'run_1' }] });
    expect(commits.at(-1)?.ledger).toBeUndefined();
  });
});

describe('a call that began in another process', () => {
  const written = async () => ({ type: 'committed', outcomes: [] });
  const settings: Partial<Tool> = {
    ...({ name: 'pay', effects: 'once', rejoinable: true } as const),
    execute: async () => ({ type: 'ok', output: 'paid' }),
  };

  it('goes on also where the tool has another version by now [verifies workers.restart]', async () => {
    const tools = createTestToolService([makeTool(settings)]);
    const earlier = { ...(await tools.list('ten_1'))[0], version: 'an earlier one' };
    expect(await perform(tools, written, { tool: earlier })).toMatchObject({ type: 'failed', error: { code: 'conflict' } });
    expect(await perform(tools, written, { tool: earlier, rejoins: true })).toMatchObject({ type: 'completed', output: 'paid' });
  });

  it('may have taken effect when this process cannot come back to it [verifies workers.restart]', async () => {
    const tools = createTestToolService([makeTool(settings)]);
    const [tool] = await tools.list('ten_1');
    await tools.close();
    const end = await perform(tools, written, { tool, rejoins: true });
    expect(end).toMatchObject({ type: 'failed', began: true, error: { code: 'tool_outcome_unknown', details: { cause: 'unavailable' } } });
    const harmless = await perform(tools, written, { tool: { ...tool, effects: 'none' }, rejoins: true });
    expect(harmless).toMatchObject({ type: 'failed', began: true, error: { code: 'unavailable' } });
  });
});
