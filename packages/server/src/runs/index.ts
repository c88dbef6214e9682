/** The door of runs: the orchestrator. */
export type { Wake } from '#runs/dispatch';
export type { AgentSource } from '#runs/steps';
export { createStreamHub, type StreamCursor, type StreamFrame } from '#runs/stream';
export type { ApprovedCall } from './approved-call.ts';
export { createOrchestrator, type Orchestrator } from './orchestrator.ts';
export type { Runs } from './service.ts';
export type { Sessions } from './sessions.ts';
export { whoStarted } from './who-started.ts';
