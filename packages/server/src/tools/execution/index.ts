/** The door of execution: one call of a tool, from its message to its end. */
export { createToolExecution, type ToolExecutionOptions } from './execution.ts';
export { createLongTexts, type LongTexts } from './long-result.ts';
export type { ToolFault } from './outcome.ts';
export type { FinishedCall } from './running-call.ts';
