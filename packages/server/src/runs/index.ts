/** The door of runs: the orchestrator. */
export { type AgentCatalog, createAgentCatalog } from './agents.ts';
export { defaultEngineSettings, type Engine, type EngineSettings } from './engine.ts';
export { createOrchestrator, type Orchestrator, type OrchestratorOptions } from './orchestrator.ts';
export { createStreamHub, type StreamHub } from './stream-hub.ts';
export type { CreateOptions, PageQuery, Principal, RunService, StartOptions, StreamCursor, StreamFrame, UsageRow } from './types.ts';
export type { WorkerSettings } from './worker.ts';
