/** For tests of runs: the engine on a real database, with a model and tools that do what the test says, under time that it moves. */
import {
  AgentDefinition,
  type AssistantPart,
  type ChatRequest,
  type ErrorInfo,
  noUsage,
  type RunId,
  type TenantId,
} from '@nexus-agent/protocol';
import { createAdmission } from '#budget';
import { budgetConfig } from '#budget/config';
import { openBus } from '#bus/drivers';
import { createIdSource, createSchemaValidator, NexusError, noSecrets } from '#core';
import { createManualTime, type ManualTime } from '#core/testing';
import type { Principal } from '#identity';
import { ledgerRules } from '#ledger';
import { createModelService, InputCounts, type ModelPart, type ModelService, type ModelTarget } from '#llm';
import { createPolicyEngine } from '#policy';
import { createOrchestrator, createStreamHub, type Orchestrator } from '#runs';
import { runsConfig } from '#runs/config';
import { createTranscripts, toJournalEvent } from '#runs/journal';
import { startRun } from '#runs/start';
import type { AgentSource, Engine } from '#runs/steps';
import { type AgentVersionRow, type RunRow, type Store, unlimited } from '#storage';
import { openStore } from '#storage/drivers';
import { createMetrics, createTracer } from '#telemetry';
import { silentLogger } from '#telemetry/testing';
import type { Tool } from '#tools';
import { createTestToolService } from '#tools/testing';

export { growSession } from './long-session.ts';
export { faultsOf } from './strict-server.ts';

const tenantId = 'default' as TenantId;
export const principal: Principal = { tenantId, id: 'ada', scopes: ['admin'], roles: ['owner'] };

type Attempt = ModelService['attempt'];

export interface TestRunsOptions {
  /** What the model gives; by default the text `done`. */
  readonly attempt?: (message: Parameters<Attempt>[0], options: Parameters<Attempt>[1]) => AsyncIterable<ModelPart>;
  readonly tools?: readonly Tool[];
  /** Besides `helper`, which is offered every tool and may use it without asking. */
  readonly agents?: readonly (Partial<AgentDefinition> & Pick<AgentDefinition, 'name'>)[];
  /** Of the configuration's `runs`. */
  readonly settings?: Partial<Engine['settings'] & Record<'maxLiveRuns' | 'leaseMs' | 'heartbeatMs' | 'pollMs', number>>;
  /** Of the configuration's `budget`. */
  readonly budget?: { readonly waitForReservedMs?: number };
  /** How many approvals of the tenant may wait for an answer; by default any number. */
  readonly maxApprovals?: number;
  /** What the model takes; by default far more than any test says. */
  readonly contextTokens?: number;
  /** Sizes of the models that it falls back to, named `m2` and on. */
  readonly fallbacks?: readonly number[];
  /** Instead of the store's own methods. */
  readonly wrap?: (store: Store) => Partial<Store>;
}

export interface TestRuns {
  readonly time: ManualTime;
  readonly engine: Engine;
  readonly agents: AgentSource;
  readonly orchestrator: Orchestrator;
  /** Topics and messages of the bus, in order, from now on. */
  readonly onBus: (topic: string, listener: (message: string) => void) => void;
  start(request: Partial<ChatRequest>): Promise<RunId>;
  /** Puts a run into the queue, where no process has room for it. */
  enqueue(request: Partial<ChatRequest>): Promise<RunId>;
  row(runId: RunId): Promise<RunRow>;
  /** The journal in short: `model.started`, `tool.completed`, … */
  types(runId: RunId): Promise<string[]>;
  /** Moves time on until the process has ended its part in all runs. */
  drain(timeoutMs: number): Promise<void>;
  /** Moves time on until the condition holds. */
  until(holds: () => boolean | Promise<boolean>): Promise<void>;
  close(): Promise<void>;
}

const target: ModelTarget = {
  provider: 'p',
  model: 'm',
  contextTokens: 100_000,
  maxOutputTokens: 10_000,
  simulator: true,
  thinksUnseen: false,
  imageTokens: 1_000,
  templateTokens: 32,
  price: {
    inputMicroUsdPerMillion: 1_000_000,
    outputMicroUsdPerMillion: 1_000_000,
    cacheReadMicroUsdPerMillion: 0,
    cacheWriteMicroUsdPerMillion: 0,
  },
};

/** An answer of the model: a text, or the tools that it calls. */
export function completed(...content: (string | { readonly name: string; readonly input?: Record<string, unknown> })[]): ModelPart {
  const parts = content.map(
    (part, index): AssistantPart =>
      typeof part === 'string'
        ? { type: 'text', text: part }
        : { type: 'tool_call', providerCallId: `c${index}`, name: part.name, input: part.input ?? {} },
  );
  const finishReason = parts.some(({ type }) => type === 'tool_call') ? 'tool_calls' : 'stop';
  return {
    type: 'completed',
    content: parts,
    finishReason,
    usage: { ...noUsage, inputTokens: 10, outputTokens: 5 },
    timeToFirstTokenMs: null,
    durationMs: 1,
  };
}

/** A refusal of the model's server. */
export function rejected(code: ErrorInfo['code'], message: string): ModelPart {
  return { type: 'failed', error: { code, message, retryable: false }, retryAfterMs: null, usage: noUsage, sent: true };
}

export async function openTestRuns(options: TestRunsOptions = {}): Promise<TestRuns> {
  const time = createManualTime();
  const { clock, timers } = time;
  const ids = createIdSource(clock);
  const real = await openStore({
    ...{ url: 'sqlite::memory:', ledgerRules, clock, timers, ids },
    quotas: { ...unlimited, tenant: { ...unlimited.tenant, approvals: options.maxApprovals ?? Number.POSITIVE_INFINITY } },
  });
  const budget = budgetConfig.budget.parse({ ...options.budget });
  const admission = createAdmission({ clock, timers, settings: budget });
  const store: Store = admission.observe({ ...real, ...options.wrap?.(real) });
  const bus = await openBus({ kind: 'memory', onError: () => undefined });
  const settings = runsConfig.runs.parse({ ...options.settings });
  const hub = createStreamHub({ bus, clock, timers, settings: { ...settings.stream, coalesceMs: 0 } });
  const metrics = createMetrics(clock);
  const tools = createTestToolService(options.tools ?? [], { clock, timers });
  const attempt =
    options.attempt ??
    async function* () {
      yield completed('done');
    };
  const llm: ModelService = {
    ...createModelService({ providers: [], clock, random: () => 1 }),
    resolve: async () => [
      { ...target, contextTokens: options.contextTokens ?? target.contextTokens },
      ...(options.fallbacks ?? []).map((contextTokens, index) => ({ ...target, model: `m${index + 2}`, contextTokens })),
    ],
    attempt: (message, given) => attempt(message, given),
  };
  const rows = [{ name: 'helper' }, ...(options.agents ?? [])].map((definition) => rowOf(definition));
  const agents: AgentSource = {
    async get(_tenant, name) {
      const row = rows.find((known) => known.name === name);
      if (row === undefined) throw new NexusError('not_found', `there is no agent ${name}`);
      return row;
    },
  };
  const engine: Engine = {
    store,
    hub,
    secrets: noSecrets,
    clock,
    timers,
    ids,
    policy: createPolicyEngine({ sources: [], clock }),
    llm,
    inputCounts: new InputCounts(),
    tools,
    schemas: createSchemaValidator(),
    logger: silentLogger,
    tracer: createTracer({ serviceName: 'test', serviceVersion: '0', clock, timers, logger: silentLogger }),
    metrics,
    admission,
    workerId: 'worker_1',
    settings,
  };
  const orchestrator = createOrchestrator({ engine, bus, agents, defaultAgent: 'helper', dispatch: settings });
  let drained: Promise<void> | undefined;
  const until: TestRuns['until'] = async (holds) => {
    for (let tries = 0; !(await holds()); tries++) {
      if (tries > 2_000) throw new Error('it did not come about');
      await time.advance(10);
    }
  };
  const drain = async (timeoutMs: number) => {
    let ended = false;
    drained ??= orchestrator.drain(timeoutMs).finally(() => {
      ended = true;
    });
    await until(() => ended);
    await drained;
  };
  await orchestrator.start();
  const parse = (request: Partial<ChatRequest>): ChatRequest => ({ input: 'go', ...request });

  return {
    time,
    engine,
    agents,
    orchestrator,
    onBus: (topic, listener) => void bus.subscribe(topic, listener),
    async start(request) {
      const { run } = await orchestrator.runs.start(principal, parse(request), {});
      return run.id as RunId; // as the engine numbered it
    },
    async enqueue(request) {
      const dependencies = { engine, agents, transcripts: createTranscripts(store, 1_000), defaultAgent: 'helper' };
      const started = await startRun(dependencies, principal, parse(request), { here: false });
      if (started.type !== 'queued') throw new Error(`the run is ${started.type}`);
      return started.row.runId;
    },
    async row(runId) {
      const row = await real.getRun(tenantId, runId);
      if (row === null) throw new Error(`there is no run ${runId}`);
      return row;
    },
    types: async (runId) => (await real.readEvents(tenantId, runId, { after: 0, limit: 1_000 })).map((event) => toJournalEvent(event).type),
    until,
    drain,
    async close() {
      if (drained === undefined) await drain(0);
      hub.close();
      metrics.close();
      await Promise.all([tools.close(), bus.close()]);
      await real.close();
    },
  };
}

function rowOf(definition: Partial<AgentDefinition> & Pick<AgentDefinition, 'name'>): AgentVersionRow {
  const whole = AgentDefinition.parse({ models: ['p/m'], tools: ['*'], policy: { allow: ['*'] }, ...definition });
  return { tenantId, name: whole.name, version: `agv_${whole.name}`, source: 'api', definition: whole, createdAt: 0 };
}
