import { createAdmission, createReservationSweeper } from '#budget';
import { budgetConfig } from '#budget/config';
import { createApprovals, createBudgets, createNodes, createRetention, createTools, openDefinitions } from '#control';
import { controlConfig } from '#control/config';
import { createIdSource, createSchemaValidator, noSecrets, type Timers } from '#core';
import { ledgerRules } from '#ledger';
import { createModelService, InputCounts } from '#llm';
import { createPolicyEngine } from '#policy';
import { createOrchestrator, createStreamHub } from '#runs';
import type { SharedClock, Store } from '#storage';
import { createKeptBlobs } from '#storage/blobs';
import { createStore, type Driver } from '#storage/drivers';
import { createMetrics, createTracer, type Logger } from '#telemetry';
import { createFixedSource, createToolService } from '#tools';
import { createScriptedAgents } from './agents.ts';
import type { Chance } from './chance.ts';
import { createFolders } from './files.ts';
import type { Surroundings } from './surroundings.ts';
import { Violation } from './violation.ts';
import type { Owner } from './world.ts';

/** What a node makes the engine of: its own time, chance and way to the database. */
export interface Ports {
  readonly owner: Owner;
  readonly clock: SharedClock;
  readonly timers: Timers;
  readonly chance: Chance;
  readonly driver: Driver;
  readonly logger: Logger;
}

export const storeTimeoutMs = 8_000;
const definitionsMs = 2_000;
const retentionMs = 5_000;
const dayMs = 86_400_000;

interface AssembledNode {
  readonly store: Store;
  readonly orchestrator: ReturnType<typeof createOrchestrator>;
  readonly retention: ReturnType<typeof createRetention>;
  readonly sweeper: ReturnType<typeof createReservationSweeper>;
  readonly follow: () => ReturnType<typeof openDefinitions>;
  readonly approvals: ReturnType<typeof createApprovals>;
  readonly budgets: ReturnType<typeof createBudgets>;
  readonly tools: ReturnType<typeof createTools>;
}

/** The platform in one process, apart from its sockets: the engine as it is, on ports that the world owns. */
export function assembleNode({ owner, clock, timers, chance, driver, logger }: Ports, around: Surroundings): AssembledNode {
  const { wires, models, outside, contents, policies, settings, pace, quotas, retention: kept } = around;
  const ids = createIdSource(clock, (size) => chance.bytes(size));
  const budgetSettings = budgetConfig.budget.parse({ sweepMs: 5_000 * pace });
  const admission = createAdmission({ clock, timers, settings: budgetSettings });
  const unheard = createStore({
    ...{ driver, ledgerRules, clock, timers, ids, timeoutMs: storeTimeoutMs, quotas },
    onBroken: ({ invariant, facts }) => around.world.fail(new Violation(`invariant: ${invariant} ${JSON.stringify(facts)}`)),
  });
  const store = admission.observe(unheard);
  const bus = wires.connect(owner);
  const metrics = createMetrics(clock);
  const hub = createStreamHub({ bus, clock, timers, settings: { ...settings.stream, coalesceMs: settings.deltaCoalesceMs } });
  const sweeper = createReservationSweeper({ store, clock, timers, logger, intervalMs: budgetSettings.sweepMs });
  const policy = createPolicyEngine({ clock });
  const agents = createScriptedAgents();
  const blobs = createKeptBlobs({ driver: contents.connect(owner), store, clock, timers, keepMs: kept.contentsMs });
  const workerId = ids.next<string>('worker');
  const retention = createRetention({
    ...{ store, clock, timers, logger, metrics, owner: workerId },
    settings: {
      ...controlConfig.retention.parse({ intervalMs: retentionMs * pace }),
      ...{ sessionsDays: kept.sessionsMs / dayMs, contentsDays: kept.contentsMs / dayMs, readersMs: kept.readersMs },
    },
    removeFiles: async () => undefined,
    removeContent: blobs.removeContent,
  });
  const engine = {
    ...{ store, hub, clock, timers, ids, policy, logger, metrics, admission, settings, workerId },
    secrets: noSecrets,
    llm: createModelService({ providers: [models.connect(owner)], clock, random: () => chance.next() }),
    inputCounts: new InputCounts(),
    tools: createToolService({
      sources: [createFixedSource(outside.connect(owner))],
      folders: createFolders({ store, blobs }),
      ...{ clock, timers, graceMs: 500 },
    }),
    schemas: createSchemaValidator(),
    tracer: createTracer({ serviceName: 'nexus-simulation', serviceVersion: '0', clock, timers, logger }),
  };
  const orchestrator = createOrchestrator({
    ...{ engine, bus, agents, defaultAgent: 'helper', dispatch: settings },
    onRemoved: retention.wake,
  });
  const { wake, checkApprovedCall } = orchestrator;

  const follow = () =>
    openDefinitions({
      ...{ store, clock, timers, logger, policy, machine: 'all', importing: 'auto', alone: false, pollMs: definitionsMs * pace },
      kinds: {
        policies: {
          folder: policies,
          async prepare(files) {
            const prepared = policy.prepare(files);
            return {
              use() {
                prepared.use();
                policies.inUse(policy.version, files.map(({ text }) => text).join('\n'));
              },
            };
          },
        },
        agents: { folder: noAgents, prepare: async () => ({ use: () => undefined }) },
      },
      nodes: createNodes({ store, clock, logger, secrets: noKeys, node: { id: workerId, name: owner.name } }),
    });

  return {
    ...{ store, orchestrator, retention, sweeper, follow },
    approvals: createApprovals({ engine, wake, checkApprovedCall }),
    budgets: createBudgets({ store, agents, clock }),
    tools: createTools({ engine, agents }),
  };
}

/** The agents of a simulation are not the operator's. */
const noAgents = { path: '/agents', mark: async () => '', read: async () => ({ files: [], unread: [] }) };

/** Nobody has a key; all nodes have the same secret for those that they would make. */
const noKey = { fingerprint: 'none', bytes: new Uint8Array() };
const noKeys = {
  current: noKey,
  forgotten: [],
  of: (id: string | null) => (id === null ? [] : [noKey]),
  refresh: async () => false,
};
