import { expect, it } from 'vitest';
import { createSchemaValidator, NexusError } from '#core';
import type { ToolCallEnd, ToolPart } from '#tools';
import { createTestToolService, makeTool } from '../tools/testing/index.ts';
import type { ChargeContext } from './charge.ts';
import type { CallEngine } from './engine.ts';
import { performTool } from './tool-call.ts';

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
    logger: { error: silent, warn: silent },
    store: { commit },
  };
  return parts as unknown as CallEngine; // what performTool touches
}

async function perform(tools: CallEngine['tools'], commit: () => Promise<unknown>): Promise<ToolCallEnd> {
  const [tool] = await tools.list('ten_1');
  if (tool === undefined) throw new Error('there is no tool');
  const call = { tool, input: {}, callId: 'call_1', attempt: 1, idempotencyKey: 'call_1', timeoutMs: 5_000 };
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
