/** The door of runs/start. */
export {
  createRunStarter,
  idempotencyConflict,
  idempotencyOf,
  inputParts,
  newSession,
  type RunStarter,
  sessionClosed,
  sessionParts,
} from './start-run.ts';
