import type { AgentDefinition } from '@nexus-agent/protocol';
import { createAgentCatalog } from '#control';
import { createWorker, type Worker, type WorkerSettings } from '#runs/dispatch';
import { createTranscripts } from '#runs/journal';
import { createRunStarter, type RunStarter } from '#runs/start';
import type { Engine } from '#runs/steps';
import type { Bus } from '#storage';
import { createRunService } from './service.ts';
import type { RunService } from './types.ts';

export interface OrchestratorOptions {
  readonly engine: Engine;
  readonly bus: Bus;
  /** Agents that every tenant has: from files, and built in. */
  readonly agents: readonly { readonly definition: AgentDefinition; readonly source: 'file' | 'built-in' }[];
  readonly defaultAgent: string;
  readonly greeting: string;
  readonly worker: WorkerSettings;
  /** Server secret under which API keys are hashed. */
  readonly pepper: Uint8Array;
}

export interface Orchestrator {
  readonly service: RunService;
  /** Begins to claim runs. Until then only what is read works. */
  start(): Promise<void>;
  readonly liveRuns: number;
  /** See {@link Worker.drain}. */
  drain(timeoutMs: number): Promise<void>;
}

/** Joins the parts of the engine. Opens and closes nothing: the caller owns the store, the bus, the models and the tools. */
export function createOrchestrator(options: OrchestratorOptions): Orchestrator {
  const { engine, bus, defaultAgent, greeting, pepper } = options;
  const catalog = createAgentCatalog({ store: engine.store, clock: engine.clock, policy: engine.policy, shared: options.agents });
  const transcripts = createTranscripts(engine.store);
  const starter: RunStarter = createRunStarter({ engine, catalog, transcripts, worker: () => worker, defaultAgent });
  const worker: Worker = createWorker({ engine, bus, catalog, transcripts, settings: options.worker, startChild: starter.startChild });
  const service = createRunService({ engine, catalog, starter, worker, defaultAgent, greeting, pepper });
  return {
    service,
    start: () => worker.start(),
    get liveRuns() {
      return worker.liveRuns;
    },
    drain: (timeoutMs) => worker.drain(timeoutMs),
  };
}
