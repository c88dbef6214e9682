/** The door of calls. */
export { decide, decideForRun, denialMessage, type RecordedDecision } from './decisions.ts';
export { executeToolDirectly } from './direct-tool.ts';
