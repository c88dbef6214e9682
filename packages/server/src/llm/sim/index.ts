/** The door of the model simulator. */
export type { Knobs } from './knobs.ts';
export { type Simulator, type SimulatorOptions, startSimulator } from './server.ts';
export type { ModelStats, SimulatorStats } from './stats.ts';
