/** The door of runs: the orchestrator. */
export { defaultEngineSettings } from '#runs/steps';
export { createStreamHub } from '#runs/stream';
export { createOrchestrator, type Orchestrator } from './orchestrator.ts';
export type { PageQuery, Principal, RunService, StreamCursor, StreamFrame } from './types.ts';
