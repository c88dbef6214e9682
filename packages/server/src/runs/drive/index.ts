/** The door of runs/drive. */
export type { ChildCall } from './effects.ts';
export { type Executor, type ExecutorEnd, type ExecutorOptions, startExecutor } from './executor.ts';
export { createRunSpans, startRunSpan } from './spans.ts';
