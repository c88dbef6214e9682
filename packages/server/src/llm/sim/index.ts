/** The door of the model simulator. */
export { type Simulator, startSimulator } from './server.ts';
