/** The door of runs/dispatch. */
export type { AdoptOptions, Dispatcher, DispatchSettings, Wake } from './port.ts';
export { createWorker } from './worker.ts';
