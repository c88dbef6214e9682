/** The door of the model simulator. */
export { keyHeader, type Simulator, startSimulator } from './server.ts';
