/** The door of runs/dispatch. */
export { createWorker, type Worker, type WorkerSettings } from './worker.ts';
