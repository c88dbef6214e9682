/** The door of runs/start. */
export type { Interrupted, StartedRun } from './begin-run.ts';
export { forkRun } from './fork-run.ts';
export { mayStart } from './may-start.ts';
export { newSession, sessionClosed, sessionLimits } from './rows.ts';
export { startChild } from './start-child.ts';
export { type StartOptions, startRun } from './start-run.ts';
