/** The door of runs: the orchestrator. */
export { defaultEngineSettings } from './engine.ts';
export { createOrchestrator, type Orchestrator } from './orchestrator.ts';
export { createStreamHub } from './stream-hub.ts';
export type { PageQuery, Principal, RunService, StreamCursor, StreamFrame } from './types.ts';
