/** The door of the model simulator. */
export { keyHeader, type Simulator, simulatedNames, startSimulator } from './server.ts';
